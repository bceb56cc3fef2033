"""The rules of the house, read from the source: who may import whom, who writes weights, who may reach the network."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sodate.core.error_codes import CODES
from sodate.core.recipe import METHODS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sodate"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {file: ast.parse(file.read_text("utf-8")) for file in FILES}

# Who may import whom: the whole list. docs/architecture.md draws the same picture.
# Rooms that no line names as a target are for the rooms named after them only.
EDGES = {
    "core": "",
    "db": "core",
    "losses": "core",
    "kernels": "core",
    "render": "core",
    "data": "core render",
    "library": "core",
    "grade": "core",
    "adapt": "core kernels library",
    "model": "core kernels render library adapt",
    "generate": "core kernels render library adapt model",
    "retrieve": "core db data",
    "train": "core losses kernels render data library grade adapt model generate",
    "evaluate": "core data grade",
    "release": "core db library",
    "api": "core db render data library grade adapt model generate retrieve train evaluate release",
    "jobs": "core db retrieve api",
    "learn": "core db data api",
    "serve": "core db api jobs learn",
    "terminal": "core evaluate api",
    "cli": "core api jobs learn serve terminal",
}
ALLOWED = {room: frozenset(others.split()) for room, others in EDGES.items()}
TORCH_FREE = {"core", "db", "render", "data", "grade", "retrieve", "evaluate", "release", "jobs", "learn", "serve"}
NETWORK = {"aiohttp", "ftplib", "http", "httpx", "huggingface_hub", "requests", "smtplib", "socket", "ssl", "urllib"}
MAX_LINES = 400


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def room_of(file: Path) -> str:
    """The room a file belongs to; the package's own __init__ only hands out what is in api."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return "api" if parts == ("__init__",) else parts[0]


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module imported anywhere in a file, also inside functions, with its line: `from a import b` is `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports are absolute"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression, "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            method = f".{node.func.attr}" if isinstance(node.func, ast.Attribute) else ""
            yield dotted(node.func) or method, node


def roots(file: Path) -> set[str]:
    """Top-level packages a file imports."""
    return {name.partition(".")[0] for name, _ in imports(TREES[file])}


def test_every_file_is_in_a_room_that_the_picture_knows() -> None:
    assert {room_of(file) for file in FILES} <= set(ALLOWED)


def test_rooms_import_only_what_the_list_allows() -> None:
    wrong = []
    for file in FILES:
        room = room_of(file)
        for name, line in imports(TREES[file]):
            package, _, rest = name.partition(".")
            if package != "sodate":
                continue
            head = rest.partition(".")[0]
            other = head if head in ALLOWED else "api"  # `import sodate` and `from sodate import train` are the API
            if other != room and other not in ALLOWED[room]:
                wrong.append(f"{name_of(file)}:{line} imports {name}")
    assert not wrong


def test_the_list_has_no_way_round_in_it() -> None:
    """Every room imports rooms to its left only: the lines of EDGES are in that order."""
    rooms = list(EDGES)
    assert all(rooms.index(other) < rooms.index(room) for room, others in ALLOWED.items() for other in others)


def test_rooms_without_torch_are_without_it_and_losses_know_only_tensors() -> None:
    for file in FILES:
        if room_of(file) in TORCH_FREE:
            assert not roots(file) & {"torch", "transformers", "safetensors"}, name_of(file)
        if room_of(file) == "losses":
            assert roots(file) - set(sys.stdlib_module_names) <= {"torch", "sodate"}, name_of(file)


def test_one_module_writes_weights_and_only_as_safetensors() -> None:
    """weights.write_tensors writes the format itself, tensor by tensor; nobody calls the library to write."""
    writers, converters, formats = set(), set(), set()
    for file, tree in TREES.items():
        for name, _ in calls(tree):
            last = name.rpartition(".")[2]
            if last in ("save", "save_file", "save_model", "serialize", "serialize_file") and "safetensors" in roots(
                file
            ):
                writers.add((name_of(file), name.partition(".")[0]))
            if last == "save_pretrained":
                converters.add(name_of(file))
            assert name not in ("torch.save", "torch.load", "torch.jit.save", "numpy.save", "np.save"), name_of(file)
        keys = (key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys)
        if any(isinstance(key, ast.Constant) and key.value == "data_offsets" for key in keys):
            formats.add(name_of(file))
    assert writers == set() and formats == {"sodate/library/weights.py"}
    # Converting a GGUF file, transformers writes the folder that it has just read: the base model, not what was learnt.
    assert converters == {"sodate/library/convert.py"}
    # What leaves the house for llama.cpp is written by the gguf package, in one place.
    assert {
        name_of(file) for file, tree in TREES.items() if "gguf.GGUFWriter" in {name for name, _ in calls(tree)}
    } == {"sodate/library/gguf_write.py"}


def test_yaml_is_read_in_one_place_within_bounds() -> None:
    readers = {name_of(file) for file, tree in TREES.items()
               if any(name in ("yaml.safe_load", "yaml.load", "yaml.parse") for name, _ in calls(tree))}  # fmt: skip
    assert readers == {"sodate/core/yaml_files.py"}


def test_python_from_elsewhere_is_parsed_in_one_place_within_bounds() -> None:
    assert {name_of(file) for file, tree in TREES.items() if "ast.parse" in {name for name, _ in calls(tree)}} == {
        "sodate/core/literals.py"
    }


def test_nothing_that_arrives_can_run_code() -> None:
    for file, tree in TREES.items():
        assert not roots(file) & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}, name_of(file)
        for name, call in calls(tree):
            where = f"{name_of(file)}:{call.lineno}"
            # inside.py is what runs in the sandbox, in a process without network and files; nothing imports it.
            jailed = name in ("eval", "exec", "compile") and name_of(file) == "sodate/grade/inside.py"
            named = ("eval", "exec", "compile", "__import__", "yaml.load", "os.system", "os.popen")
            assert name not in named or jailed, where
            given = {word.arg: word.value for word in call.keywords}
            for word in ("trust_remote_code", "shell"):
                value = given.get(word)
                assert value is None or (isinstance(value, ast.Constant) and value.value is False), f"{where} {word}"


def test_only_the_modules_that_fetch_a_model_reach_the_network() -> None:
    reach = {(name_of(file), name) for file in FILES for name in roots(file) & NETWORK}
    # core/files asks the socket module for this host's name, to say who holds a lock.
    # serve/server.py listens, and calls nobody. An export's reader asks llama.cpp over a socket that is a file.
    assert reach == {
        ("sodate/library/hub.py", "huggingface_hub"), ("sodate/core/files.py", "socket"),
        ("sodate/serve/server.py", "socket"), ("sodate/api/reader_llamacpp.py", "http"),
        ("sodate/api/reader_llamacpp.py", "socket"),
        # The engine llamacpp asks its own process over such a socket; the engine upstream the server that was named.
        ("sodate/generate/llamacpp_process.py", "http"), ("sodate/generate/llamacpp_process.py", "socket"),
        ("sodate/generate/event_stream.py", "http"), ("sodate/generate/event_stream.py", "socket"),
        ("sodate/generate/address.py", "http"), ("sodate/generate/address.py", "ssl"),
        ("sodate/generate/address.py", "urllib"),
    }  # fmt: skip
    used = {name for name, _ in calls(TREES[PACKAGE / "core" / "files.py"]) if name.startswith("socket.")}
    assert used == {"socket.gethostname"}
    # pip fetches the two built-in models; git says which commit this is; graders that run code do it in a jail;
    # templates that are not plain are rendered by a process with limits; exports are tried by one of their own engine;
    # a job is trained by one of its own, and workers are started; llama.cpp is an engine in one of its own;
    # a step of a ladder is a command.
    started = {name_of(file) for file in FILES if "subprocess" in roots(file)}
    assert started == {"sodate/library/wheels.py", "sodate/release/registry.py", "sodate/grade/sandbox.py",
                       "sodate/render/isolated.py", "sodate/api/agreement.py", "sodate/jobs/process.py",
                       "sodate/jobs/crew.py", "sodate/generate/llamacpp_process.py",
                       "sodate/api/ladder_steps.py"}  # fmt: skip
    scripts = {
        "sodate.grade.inside",
        "sodate.grade.jail",
        "sodate.api.reader_llamacpp",
        "sodate.api.reader_transformers",
        "sodate.generate.llamacpp_child",
    }
    assert not scripts & {name for tree in TREES.values() for name, _ in imports(tree)}


@pytest.mark.parametrize("statement", ["import sodate", "import sodate.cli"])
def test_nothing_heavy_is_imported_before_a_verb_runs(statement: str) -> None:
    heavy = ["torch", "transformers", "numpy", "pyarrow", "pydantic", "yaml", "jinja2", "safetensors"]
    code = f"import sys\n{statement}\nprint([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_a_file_is_short_enough_to_be_read_in_one_sitting() -> None:
    files = [file for folder in ("sodate", "examples", "bench") for file in (ROOT / folder).rglob("*.py")]
    lengths = {name_of(file): len(file.read_text("utf-8").splitlines()) for file in files}
    assert not {name: lines for name, lines in lengths.items() if lines >= MAX_LINES}


def test_everything_public_in_the_api_says_what_it_does() -> None:
    silent = []
    for file in sorted((PACKAGE / "api").glob("*.py")):
        tree = TREES[file]
        scopes: list[ast.AST] = [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef))]
        for scope in scopes:
            for node in ast.iter_child_nodes(scope):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    public = not node.name.startswith("_")
                    if public and not ast.get_docstring(node):
                        silent.append(f"{name_of(file)}:{node.lineno} {node.name}")
    assert not silent


def read_keys(tree: ast.AST) -> Iterator[str]:
    """Recipe keys that a file reads: `recipe.key`, `auto("key", …)`, `getattr(recipe, "key")`, `["recipe"]["key"]`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and dotted(node.value).rpartition(".")[2] == "recipe":
            yield node.attr
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Subscript):
            outer, inner = node.value.slice, node.slice
            if isinstance(outer, ast.Constant) and outer.value == "recipe" and isinstance(inner, ast.Constant):
                yield str(inner.value)
    for name, call in calls(tree):
        at = {"auto": 0, "getattr": 1}.get(name)
        if at is not None and len(call.args) > at and isinstance(call.args[at], ast.Constant):
            yield str(call.args[at].value)  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_recipe_key_is_read_somewhere(method: str) -> None:
    read = {key for file in FILES if file.name != "recipe.py" for key in read_keys(TREES[file])}
    assert not set(METHODS[method].model_fields) - read


def repository_files() -> list[Path]:
    """What a clone would hold: tracked files and new ones that git does not ignore; without git, all but caches."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        files = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        caches = (".venv", ".git", "__pycache__", "sodate.egg-info")
        files = [file for file in ROOT.rglob("*") if not set(file.relative_to(ROOT).parts) & set(caches)]
    return [file for file in files if file.is_file() and not any(p.endswith("_cache") for p in file.parts)]


# Hosts that may be named: where a standard, a licence or a paper lies, and names reserved for examples.
HOSTS = {
    *("json-schema.org", "www.w3.org", "www.apache.org", "arxiv.org", "ai.google.dev", "huggingface.co", "github.com"),
    *("example.com", "example.jp", "example.org", "localhost", "127.0.0.1"),
}
VENDORED = ("tests/serve/axe/", "sodate/serve/pages/static/htmx.", "sodate/serve/pages/static/uplot.")  # others' files
LOCAL_PATH = re.compile(r"(?<![\w.>}])/(?:root|home/\w+|Users/\w+|work|workspace|mnt/\w+)/\w")


def test_no_file_names_this_machine_or_a_package_registry() -> None:
    own = [str(ROOT), str(Path.home()), "PIP_" + "INDEX_URL", "--" + "index-url"]
    found = []
    for file in repository_files():
        text = file.read_text("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            hosts = {host.lower() for host in re.findall(r"https?://(?:[^/@\s]*@)?([\w-]+(?:\.[\w-]+)+)", line)}
            others = set() if name_of(file).startswith(VENDORED) else hosts - HOSTS
            wrong = [*LOCAL_PATH.findall(line), *(p for p in own if len(p) > 5 and p in line), *sorted(others)]
            found += [f"{name_of(file)}:{number}: {what}" for what in wrong]
    assert not found


def test_every_code_of_an_error_is_in_the_table_and_used() -> None:
    used = {"failed", "busy"}  # the default of the class, and what engines raise
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                used.add(node.value.value)
            if (
                isinstance(node, ast.Assign)
                and dotted(node.targets[0]) == "code"
                and isinstance(node.value, ast.Constant)
            ):
                used.add(node.value.value)
        if room_of(file) == "serve":
            used &= set(CODES)  # others are those of the wire
    assert used == set(CODES)


def test_every_error_has_a_code_of_its_own() -> None:
    without = [
        f"{name_of(file)}:{node.lineno}"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and dotted(node.func) in ("SodateError", "UsageError")
        and not any(keyword.arg in ("code", None) for keyword in node.keywords)
    ]
    # What click finds wrong with a command is `usage`, and has no code of its own.
    assert [place.partition(":")[0] for place in without] == ["sodate/cli/failures.py"]


def test_what_setup_installs_is_locked_by_hash_at_the_pinned_version() -> None:
    """`python requirements/lock.py` (make lock) writes it again."""

    def versions(text: str) -> dict[str, str]:
        found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE)
        return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}

    pinned = versions((ROOT / "constraints.txt").read_text("utf-8"))
    both = [(ROOT / "requirements" / name).read_text("utf-8") for name in ("lock.txt", "cuda.txt")]
    locked = versions(both[0])
    about = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    asked = [*about["project"]["dependencies"], *itertools.chain(*about["project"]["optional-dependencies"].values())]
    asked = [re.sub(r"[-_.]+", "-", re.split(r"[<>=\[]", one)[0]).lower() for one in asked]
    assert set(asked) - {"sodate"} <= set(locked) and about["build-system"]["requires"] == [
        f"setuptools=={locked['setuptools']}"
    ]
    assert {name: version for name, version in locked.items() if pinned.get(name, version) != version} == {}
    for text in both:
        entries = re.split(r"^(?=[A-Za-z0-9._-]+==)", text, flags=re.MULTILINE)[1:]
        assert entries and all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
        assert "://" not in text  # where they come from is for pip's configuration to say


def test_every_group_of_verbs_speaks_the_readers_language() -> None:
    others = [
        f"{name_of(file)}:{node.lineno}"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func) == "typer.Typer"
    ]
    assert not others, f"use sodate.cli.parser_words.Verbs: {others}"
