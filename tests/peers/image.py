"""Carries out the steps of cluster/files/Dockerfile in a root file system of its own, without a container engine.

No image registry is used. This machine's Debian takes the place of the image `python:3.11-slim-bookworm`. Its
/usr/local has a fresh pip, and the standard library of the interpreter with which the tests run. Of this machine's
folders only /usr, /etc and /var are visible, under overlays. Each RUN is carried out as it is written. Only root can do
this, on a Debian.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEP_S_MAX = 600.0
OF_THIS_MACHINE = ("usr", "etc", "var")
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
AS_THE_BASE = """
ldconfig
for file in passwd group; do awk -F: '$3 < 1000 || $3 > 60000' /etc/$file > /tmp/kept; cat /tmp/kept > /etc/$file; done
python -m ensurepip --default-pip
"""
INDEX = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT", "http_proxy", "https_proxy", "no_proxy")
"""The beginnings of the variables by which pip and apt find their index. The image does not get them."""


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction of a Dockerfile, with continued lines joined and comments dropped."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest.strip()


@dataclass
class Stage:
    """One stage of the image's build: its root folder, and the environment, user and working folder of its containers.

    The folder `changes` keeps what this stage has changed in folders that it shares with this machine.
    """

    root: Path
    base: Path | None
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    folder: str = "/"
    ran: list[str] = field(default_factory=list)

    @property
    def changes(self) -> Path:
        return self.root.with_name(f"{self.root.name}-changes")

    def make(self) -> None:
        """Make the empty folders and links of a Debian root."""
        for name in (*OF_THIS_MACHINE, "home", "opt", "proc", "root", "run", "srv", "tmp", "dev"):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "lib", "lib64", "sbin"):
            (self.root / name).symlink_to(f"usr/{name}")
        for name in OF_THIS_MACHINE:
            (self.changes / name).mkdir(parents=True)
        (self.root / "tmp").chmod(0o1777)

    def path(self, inside: str) -> Path:
        """Return the path on this machine of the file that the stage has at `inside`."""
        first, _, rest = inside.lstrip("/").partition("/")
        return (self.changes if first in OF_THIS_MACHINE else self.root) / first / rest


@dataclass(frozen=True)
class Image:
    """The result of a build, which is the last stage of the Dockerfile."""

    stage: Stage

    def run(self, command: str, *, user: str = "1000:1000", environment: Mapping[str, str], work: Path) -> list[str]:
        """Return the command line that runs `command` in a container of this stage, as `user` and without capabilities.

        The container has a read-only root, a writable /tmp, and a network with loopback only. `environment` is added to
        that of the stage. `work` is an empty folder for the overlays.
        """
        uid, _, gid = user.partition(":")
        words = [f"{name}={value}" for name, value in {"PATH": PATH, **self.stage.environment, **environment}.items()]
        rights = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"]
        rights += ["--bounding-set=-all", "--inh-caps=-all"]
        inside = [*rights, "env", "-i", f"--chdir={self.stage.folder}", *words, "/bin/bash", "-lc", "--", command]
        volumes = """
mount -t tmpfs -o mode=1777 tmp "$root/tmp"; ip link set lo up
for place in "" /usr /etc /var; do mount -o remount,ro,bind "$root$place"; done
"""
        return _in_root(self.stage, work, volumes, inside, network=True)


def build(folder: Path) -> Image:
    """Carry out the Dockerfile, with all files below `folder`.

    If a step fails, raise AssertionError with its output.
    """
    base = _base(folder / "base")
    stages = dict[str, Stage]()
    stage = None
    for number, (word, rest) in enumerate(instructions((ROOT / "cluster/files/Dockerfile").read_text())):
        if word == "FROM":
            stage = Stage(folder / f"stage-{number}", base)
            stage.make()
            stages[rest.rpartition(" AS ")[2]] = stage
        assert stage is not None
        if word == "RUN":
            _step(rest, stage, folder / f"work-{number}")
        elif word == "COPY":
            _copy(rest, stage, stages)
        elif word == "ENV":
            stage.environment.update(part.partition("=")[::2] for part in shlex.split(rest))
        elif word == "USER":
            stage.user = rest
        elif word == "WORKDIR":
            stage.folder = rest
    assert stage is not None
    return Image(stage)


def _base(folder: Path) -> Path:
    """Make a layer over /usr in which /usr/local has only a CPython of its own, and nothing else from this machine.

    Return the layer's folder.
    """
    stage = Stage(folder, None)
    stage.make()
    local = stage.changes / "usr/local"
    (local / "bin").mkdir(parents=True)
    os.setxattr(local, "trusted.overlay.opaque", b"y")
    prefix, version = Path(sys.base_prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert prefix != Path("/usr"), "this needs an interpreter with a folder of its own, such as pyenv's or uv's"
    left_out = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a")
    shutil.copytree(prefix / "lib" / version, local / "lib" / version, symlinks=True, ignore=left_out)
    for library in (prefix / "lib").glob("libpython*.so*"):
        shutil.copy(library, local / "lib", follow_symlinks=False)
    shutil.copy(Path(sys.executable).resolve(), local / "bin" / version)
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to(version)
    _step(AS_THE_BASE, stage, folder.with_name("work-base"))
    return stage.changes


def _step(command: str, stage: Stage, work: Path) -> None:
    index = {name: value for name, value in os.environ.items() if name.startswith(INDEX)}
    environment = {"PATH": PATH, "HOME": "/root", **index, **stage.environment}
    inside = ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), "/bin/sh", "-c", command]
    words = _in_root(stage, work, "", inside, network=False)
    done = subprocess.run(words, capture_output=True, text=True, timeout=STEP_S_MAX, check=False)
    if done.returncode != 0:
        raise AssertionError(
            f"RUN {command}\nexit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        )
    stage.ran.append(command)


def _copy(rest: str, stage: Stage, stages: Mapping[str, Stage]) -> None:
    *sources, target = rest.split()
    other = stages[sources.pop(0).removeprefix("--from=")] if sources[0].startswith("--from=") else None
    goal = stage.path(target)
    for source in sources:
        found = other.path(source) if other else ROOT / source
        if found.is_dir():
            shutil.copytree(found, goal, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place = goal / found.name if target.endswith("/") else goal
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, place)


def _in_root(stage: Stage, work: Path, volumes: str, inside: list[str], *, network: bool) -> list[str]:
    """Return a command line that runs `inside` in the stage's root.

    When the command ends, its mounts and processes end too.
    """
    mounts = []
    for name in OF_THIS_MACHINE:
        (work / name).mkdir(parents=True)
        below = [str(stage.base / name)] if stage.base else []
        options = f"lowerdir={':'.join([*below, f'/{name}'])},upperdir={stage.changes / name},workdir={work / name}"
        mounts.append(f'mount -t overlay overlay -o {shlex.quote(options)} "$root/{name}"')
    script = f"""
set -eu; root={shlex.quote(str(stage.root))}
mount --bind "$root" "$root"
{"; ".join(mounts)}
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for node in null zero full random urandom tty; do
    mknod -m 666 "$root/dev/$node" c $(stat -c '0x%t 0x%T' "/dev/$node")
done
ln -s /proc/self/fd "$root/dev/fd"; ln -s /proc/self/fd/1 "$root/dev/stdout"; ln -s /proc/self/fd/2 "$root/dev/stderr"
mkdir -m 1777 "$root/dev/shm"; mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
{volumes}
exec chroot "$root" {shlex.join(inside)}
"""
    own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *(["--net"] if network else [])]
    return [*own, "/bin/sh", "-c", script]
