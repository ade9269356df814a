"""The console command: results for scripts, and one paragraph with exit code 2 for everything that can be wrong."""

import gzip
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from formal.random_mutants import Judged
from isa.c_header import C_HEADER
from isa.configuration import NAMED_POOLS
from rtl.axi_export import AXI_FILES
from scripts.command_line import call
from scripts.commands.mutants import summarised

NETWORKS = Path(__file__).parent.parent / "networks"
LENET = NETWORKS / "lenet.int8.onnx"
SMALL = NAMED_POOLS["small"]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packages") / "lenet.ifp"
    assert call(["compile", str(LENET), "-o", str(path), "--cores", "1,2", "--no-fuse"]) == 0
    return path


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    capsys.readouterr()
    code = call([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found = json.loads(captured.out)
    assert isinstance(found, dict)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert call([*map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def images(count: int) -> np.ndarray:
    archive = np.load(NETWORKS / "mnist_test.npz")
    return archive["images"][:count, None].astype(np.float32) / np.float32(255)


def test_two_tenants_run_at_the_same_time_bit_for_bit_and_as_fast_as_alone(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        np.save(tmp_path / f"input{number}.npy", images(2)[number : number + 1])
    arguments: list[object] = ["run", f"{package}:1", f"{package}:2", "--backend", "model"]
    for number in range(2):
        arguments += ["--input", tmp_path / f"input{number}.npy", "--check", LENET]
        arguments += ["--output", tmp_path / f"output{number}.npy"]
    result = answer(capsys, *arguments)
    assert set(result) >= {"pool", "backend", "cycles", "tenants"}
    tenants = result["tenants"]
    assert isinstance(tenants, list)
    assert [tenant["cores"] for tenant in tenants] == [1, 2]
    for tenant in tenants:
        assert tenant["network"] == "lenet"
        assert tenant["cycles"] == tenant["cycles_alone"] > 0
        assert tenant["compared"] > 0
        assert tenant["mismatches"] == 0
        assert tenant["fault"] is None
        assert 0 < tenant["utilisation"] <= 1
    assert np.load(tmp_path / "output0.npy").shape == (1, 10)


def test_a_leading_axis_of_n_makes_n_runs(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "three.npy", images(3))
    out = tmp_path / "out.npy"
    run = ["run", f"{package}:2", "--backend", "model", "--input", tmp_path / "three.npy", "--output", out]
    tenant = answer(capsys, *run)["tenants"][0]  # type: ignore[index]
    assert tenant["images"] == 3
    assert np.load(out).shape[0] == 3
    labels = np.load(NETWORKS / "mnist_test.npz")["labels"][:3]
    assert (np.load(out).reshape(3, 10).argmax(axis=1) == labels).all()


def test_compared_is_null_without_check(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tenant = answer(capsys, "run", f"{package}:1", "--backend", "model")["tenants"][0]  # type: ignore[index]
    assert tenant["compared"] is None
    assert tenant["mismatches"] is None


def test_a_profile_says_what_layers_are_bound_by_and_how_they_are_tiled(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call(["run", f"{package}:2", "--backend", "model", "--profile"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("bound by", "tiling", "compute", "chunks", "lenet on 2 cores"))


def test_a_picture_of_the_engines_is_drawn(package: Path, tmp_path: Path) -> None:
    """In a process of its own: in one that had run many other tests, numpy once found 1408.0 // step invalid."""
    picture = tmp_path / "timeline.svg"
    command = [sys.executable, "-m", "scripts.command_line", "trace", f"{package}:2", "--backend", "model"]
    subprocess.run([*command, "-o", str(picture)], check=True, capture_output=True)
    assert "<svg" in picture.read_text()
    assert list(tmp_path.iterdir()) == [picture]


def test_a_trace_names_all_cores_and_fits_what_the_machine_measured(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "run.pftrace"
    result = answer(capsys, "trace", f"{package}:1", f"{package}:2", "-o", trace, "--backend", "model")
    packets = Trace.FromString(trace.read_bytes()).packet
    tracks = [packet.track_descriptor.name for packet in packets if packet.HasField("track_descriptor")]
    assert [name for name in tracks if name.startswith("core")] == ["core 0", "core 1", "core 2"]
    assert [name for name in tracks if name.startswith("tenant ")] == ["tenant lenet (A)", "tenant lenet (B)"]
    events = sum(packet.track_event.type != TrackEvent.TYPE_SLICE_END for packet in packets) - len(tracks)
    assert result["events"] == events
    again = tmp_path / "run.pftrace.gz"
    answer(capsys, "trace", f"{package}:1", f"{package}:2", "-o", again, "--backend", "model")
    assert gzip.decompress(again.read_bytes()) == trace.read_bytes()


@pytest.mark.parametrize("backend", ["model", "pyrtl"])
def test_a_trace_shows_a_network_go_on_with_other_cores(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str
) -> None:
    trace = tmp_path / "switch.pftrace"
    resizes = ["--resize", "2:2", "--resize", "4:1"]
    result = answer(capsys, "trace", f"{package}:1", f"{package}:1", *resizes, "-o", trace, "--backend", backend)
    assert result["switches"] == 2
    events = [packet.track_event.name for packet in Trace.FromString(trace.read_bytes()).packet]
    for name in (
        "PAUSED before layer 2",
        "START at layer 2 on 2 cores",
        "PAUSED before layer 4",
        "START at layer 4 on 1 core",
    ):
        assert events.count(name) == 1
    assert sum(name.startswith("switch: ") for name in events) == 2
    assert events.count("END") == 2


def test_verilog_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = answer(capsys, "export", "--pool", "tiny", "-o", tmp_path / "verilog")["files"]
    assert isinstance(files, dict)
    names = {Path(name).name for name in files}
    assert {"tenure.core", "tenure.xdc", "vivado.tcl", "ecp5.sh", "ecp5.lpf"} < names
    assert {*AXI_FILES, C_HEADER, "pool.v", "shell.v", "core.v", "dispatcher.v", "mac_array.v"} < names
    assert all(Path(name).stat().st_size == size for name, size in files.items())


@pytest.mark.parametrize(
    ("arguments", "explanation"),
    [
        (["compile", "nowhere.onnx", "-o", "x.ifp"], "MODEL nowhere.onnx: there is no such file"),
        (["compile", str(LENET), "-o", "/nowhere/x.ifp"], "no directory /nowhere"),
        (["compile", str(LENET), "-o", "x.ifp", "--cores", "two"], "--cores two"),
        (["compile", str(LENET), "-o", "x.ifp", "--cores", "5"], "has 4 cores"),
        (["compile", str(LENET), "-o", "x.ifp", "--shape", "3,3"], "--shape 3,3"),
        (["compile", str(LENET), "-o", "x.ifp", "--pool", "huge"], "unknown pool 'huge'"),
        (["compile", str(LENET)], "Missing option '-o'"),
        (["run", "nowhere.ifp"], "nowhere.ifp: there is no such file"),
        (["run", str(LENET)], "package"),
        (["run"], "Missing argument"),
        (["run", "x.ifp", "--backend", "abacus"], "'abacus' is not one of"),
        (["trace", "x.ifp", "-o", "picture.doc"], "must end in"),
        (["trace", "x.ifp", "-o", "x.pftrace", "--resize", "2"], "x.ifp: there is no such file"),
        (["bench", "nothing"], "'nothing' is not"),
        (["fly"], "No such command 'fly'"),
    ],
)
def test_bad_input_is_explained(arguments: list[str], explanation: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explanation in refused(capsys, *arguments)


def test_packages_and_inputs_that_do_not_fit_are_explained(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> str:
        return refused(capsys, "run", "--backend", "model", *arguments)

    assert "has 4 cores" in run(f"{package}:2", f"{package}:3")
    assert "at least one core" in run(f"{package}:0")
    assert "not for 3" in run(f"{package}:3")
    assert "compile it again with --pool tiny" in run(f"{package}:1", "--pool", "tiny")
    assert "there are 2 inputs for 1 packages" in run(f"{package}:1", "--input", "a.npy", "--input", "b.npy")
    assert "a.npy: there is no such file" in run(f"{package}:1", "--input", "a.npy")
    assert "no directory /nowhere" in run(f"{package}:1", "--output", "/nowhere/y.npy")
    assert "--check" in run(f"{package}:1", "--check", package)
    assert "was not compiled from this file" in run(f"{package}:1", "--check", NETWORKS / "resnet8.int8.onnx")
    assert "writes no waveforms" in run(f"{package}:1", "--vcd", tmp_path / "waves.vcd")
    assert list(tmp_path.iterdir()) == []
    np.save(tmp_path / "wrong.npy", np.zeros((1, 3, 28, 28), np.float32))
    assert "has shape [1, 3, 28, 28]" in run(f"{package}:1", "--input", tmp_path / "wrong.npy")
    np.save(tmp_path / "bytes.npy", np.zeros((1, 1, 28, 28), np.uint8))
    assert "holds uint8" in run(f"{package}:1", "--input", tmp_path / "bytes.npy")
    (tmp_path / "text.npy").write_text("hello")
    assert "no .npy or .npz file" in run(f"{package}:1", "--input", tmp_path / "text.npy")
    np.save(tmp_path / "images.npy", np.zeros((2, 1, 28, 28), np.float32))
    resized = ["--resize", "2:2", "--input", tmp_path / "images.npy", "-o", tmp_path / "x.pftrace"]
    assert "has 2 images" in refused(capsys, "trace", f"{package}:1", *resized, "--backend", "model")
    cut = tmp_path / "cut.ifp"
    cut.write_bytes(package.read_bytes()[:1000])
    assert "cut.ifp" in run(f"{cut}:1")


def test_an_interrupt_leaves_no_file_behind(tmp_path: Path) -> None:
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "from pathlib import Path\n"
        "from scripts import command_line\n"
        "from scripts.commands.reporting import replacing\n"
        "import click\n"
        "@click.command()\n"
        "def slow():\n"
        "    with replacing(Path(sys.argv[1]) / 'result') as file:\n"
        "        file.write(b'half')\n"
        "        print('writing', flush=True)\n"
        "        time.sleep(60)\n"
        "command_line.tenure.add_command(slow)\n"
        "sys.exit(command_line.call(['slow']))\n"
    )
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", program, str(tmp_path)]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted" in messages
    assert list(tmp_path.iterdir()) == []


def test_a_package_of_ones_own_is_proved(capsys: pytest.CaptureFixture[str], package: Path) -> None:
    result = answer(capsys, "prove", "compilation", "--package", package)
    assert [(each["name"], each["verdict"]) for each in result["theorems"]] == [("compilation of lenet", "proved")]


def test_a_package_goes_with_the_theorem_about_packages(capsys: pytest.CaptureFixture[str], package: Path) -> None:
    assert "tenure prove compilation" in refused(capsys, "prove", "ownership", "--package", package)
    assert str(LENET) in refused(capsys, "prove", "compilation", "--package", LENET)
    assert "--pool" in refused(capsys, "prove", "compilation", "--package", package, "--pool", "tiny")


@pytest.mark.parametrize("option", [["--explain"], ["--vcd", "."], ["--package", "lenet.ifp"]])
def test_what_a_second_engine_cannot_heed_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: list[str]
) -> None:
    theorem = "compilation" if "--package" in option else "ownership"
    assert "--certify goes" in refused(capsys, "prove", theorem, "--certify", tmp_path, *option)
    assert list(tmp_path.iterdir()) == []


def test_a_bug_is_refuted_by_a_table_of_what_differs_and_a_pair_of_waveforms(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    capsys.readouterr()
    assert call(["prove", "--bug", "arbiter", "--explain", "--vcd", str(tmp_path), "--json"]) == 1
    captured = capsys.readouterr()
    (theorem,) = json.loads(captured.out)["theorems"]
    assert (theorem["name"], theorem["verdict"]) == ("non-interference", "refuted")
    shown = theorem["counterexample"]
    assert "core1_request_taken = " in shown["first_difference"]
    assert {"core0_request_valid_i", "core1_request_taken"} <= set(shown["signals"]), "cause and effect"
    assert "core0_instruction" not in shown["signals"], "it differs, too, and has no say"
    assert "No tenant can observe its neighbours" in captured.err
    assert "First that differs for A" in captured.err
    first, second = (tmp_path / f"non-interference.run{run}.vcd" for run in (1, 2))
    assert "core1_request_taken" in first.read_text(encoding="ascii")
    assert first.read_bytes() != second.read_bytes()


def test_what_is_to_be_proved_is_named_by_argument_or_option_and_explained_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = answer(capsys, "prove", "--theorem", "L0", "L1", "--pool", "tiny")
    assert [each["name"] for each in result["theorems"]] == ["L1", "L0"]
    assert call(["prove", "L0", "--pool", "tiny", "--explain"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("no path leads through a core") < printed.index("seconds")


def test_mutants_are_judged_by_theorems_and_functional_test_and_kept_in_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "verdicts"
    capsys.readouterr()
    assert call(["prove", "--mutants", "1", "--seed", "6", "--output", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    (mutant,) = result["mutants"]
    sampled, kept = map(json.loads, path.read_text().splitlines())
    assert mutant == kept
    assert (sampled["pool"], sampled["of"]) == ("tiny", "shell")
    assert (result["pool"], result["survivors"], sum(result["verdicts"].values())) == ("tiny", [], 1)
    assert call(["prove", "--mutants", "1", "--seed", "6", "--output", str(path)]) == 0
    assert "verdicts: {" in capsys.readouterr().err
    reason = refused(capsys, "prove", "--mutants", "1", "--of", "core", "--output", path)
    assert "its mutants are of shell, not of core; give another file" in reason


def test_a_bug_is_noticed_that_a_theorem_kills_or_the_functional_test_shows() -> None:
    judged = [
        Judged(1, "", True, "KILLED", "answers", "", "", 1.0),
        Judged(2, "", True, "BLIND", "", "", "core0_scrub_o in cycle 3", 1.0),
        Judged(3, "", True, "BLIND", "", "", "", 1.0),
        Judged(4, "", True, "EQUIVALENT", "", "", "", 1.0),
    ]
    summary = summarised(judged)
    assert (summary["score"], summary["noticed"], summary["survivors"]) == (0.333, 0.667, [3])


def test_what_mutants_cannot_heed_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "goes with --of" in refused(capsys, "prove", "ownership", "--mutants", "1")
    assert "--pool" in refused(capsys, "prove", "--mutants", "1", "--pool", "small")
    assert "1 or more" in refused(capsys, "prove", "--mutants", "0")
    assert "goes with --mutants" in refused(capsys, "prove", "--output", tmp_path / "verdicts", "L0")
    assert "no directory" in refused(capsys, "prove", "--mutants", "1", "--output", tmp_path / "missing" / "verdicts")


def test_a_bug_that_there_is_not_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "arbiter" in refused(capsys, "prove", "--bug", "nonsense")
    assert "--bug goes alone" in refused(capsys, "prove", "ownership", "--bug", "arbiter")
    assert "--pool" in refused(capsys, "prove", "--bug", "arbiter", "--pool", "paper")
    assert "no such directory" in refused(capsys, "prove", "--vcd", tmp_path / "missing", "L0")
