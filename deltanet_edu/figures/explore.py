"""A picture to play with: sliders where they can move, the picture alone where they cannot."""

WIDGET = "application/vnd.jupyter.widget-view+json"


def explore(draw, **sliders):
    """Draw `draw(**values)` anew whenever a slider moves. Without a notebook or ipywidgets: once, for the start.

    sliders: {name of the argument: (label, all its values in order, the one to start with)}.
    The notebook is given the still picture beside the widget: who shows no widgets, GitHub say, shows that.
    """
    figure = draw(**{name: start for name, (_, _, start) in sliders.items()})
    try:
        from IPython import get_ipython
        from IPython.display import display
        from ipywidgets import HTML, Layout, SelectionSlider, VBox
    except ImportError:
        return figure
    if not hasattr(get_ipython(), "kernel"):
        return figure
    from .card import tag
    from .style import close, words

    def shown(figure):
        close(figure)
        return tag(figure)

    still = shown(figure)
    picture = HTML(still)
    knobs = {name: SelectionSlider(options=values, value=start, description=label, layout=Layout(width="440px"),
                                   style={"description_width": "170px"})
             for name, (label, values, start) in sliders.items()}

    def redraw(_):
        picture.value = shown(draw(**{name: knob.value for name, knob in knobs.items()}))

    for knob in knobs.values():
        knob.observe(redraw, "value")
    box = VBox([*knobs.values(), picture])
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    display({WIDGET: view, "text/html": still, "text/plain": words(figure)}, raw=True)
