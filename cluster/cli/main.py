"""The program `dispatcher`, with the commands that start, deploy and stop the service.

The modules of the other commands are imported when one of these commands is called or listed (`ELSEWHERE`). So `up`
does not wait for them.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from pathlib import Path

import click

from cluster.local.state_directory import StateDirectory
from cluster.local.worker_forks import WorkerForks
from dispatcher.errors import ConfigError, DispatcherError
from dispatcher.version import VERSION

ELSEWHERE = {
    "cancel": "cluster.cli.operate:cancel",
    "capacity": "cluster.capacity.estimate:capacity",
    "config": "cluster.cli.operate:config",
    "dead": "cluster.cli.operate:dead",
    "demo": "cluster.rehearsal.demo:demo",
    "drill": "cluster.rehearsal.drills.command:drill",
    "key": "cluster.cli.keys:key",
    "list": "cluster.cli.listing:list_by_state",
    "plan": "cluster.cli.operate:plan",
    "sandbox": "cluster.rehearsal.sandbox.__main__:main",
    "send": "cluster.cli.operate:send",
    "show": "cluster.cli.operate:show",
    "status": "cluster.cli.operate:status",
    "templates": "cluster.cli.templates:templates",
    "vendor": "cluster.cli.operate:vendor",
    "vendors": "cluster.cli.operate:vendors",
}
"""The commands whose code is in another module, each with its module and its name there."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Program(click.Group):
    """The root command of `dispatcher`.

    An error of ours, and a system call that the machine refuses, are shown as one sentence instead of a traceback. The
    exit code is 2 for a ConfigError and 1 for any other error.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, name = ELSEWHERE[cmd_name].split(":")
        found = getattr(importlib.import_module(module), name)
        assert isinstance(found, click.Command)
        return found

    def invoke(self, ctx: click.Context) -> object:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a terminal of Latin-1 has no sign for a name in Greek
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except DispatcherError as error:
            click.echo(f"dispatcher: {error}", err=True)
            sys.exit(2 if isinstance(error, ConfigError) else 1)
        except OSError as error:
            if error.errno == errno.EPIPE:  # click ends quietly
                raise
            click.echo(f"dispatcher: {refusal(error)}", err=True)
            sys.exit(1)


def refusal(error: OSError) -> str:
    """Return a sentence that says why the operating system refused a step. The sentence names the file if the error
    does.
    """
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {reason}"
    return f"the output cannot be written: {reason}" if error.errno in FULL else f"the machine refuses a step: {reason}"


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="dispatcher")
def main() -> None:
    """A resilient notification dispatcher.

    It accepts triggers durably in milliseconds and delivers through whichever vendor works.
    """


@main.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The YAML file with the configuration.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("state"),
    show_default=True,
    help="The directory for the data of Redis, the API keys and the logs.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. Any other than loopback needs an API key.",
)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="The port to listen on.")
@click.option(
    "--redis-url",
    help="Use this Redis and start no private one: redis://, rediss:// (TLS), redis+sentinel://H1,H2/SERVICE or unix://.",
)
@click.option("--unsafe-redis", is_flag=True, help="Start even if Redis can lose what was accepted.")
@click.option(
    "--sandbox",
    is_flag=True,
    help="Also start the sandbox vendors. Without --config, the sandbox's own configuration is used.",
)
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for log files. Without it, `logs` in the state directory.",
)
@click.option(
    "--stop-notice",
    default=0.0,
    show_default=True,
    type=click.FloatRange(min=0.0, max=600.0),
    metavar="SECONDS",
    help="After SIGTERM, /readyz first answers 503 for so long while triggers are still accepted.",
)
def up(
    *,
    config: Path | None,
    state_dir: Path,
    host: str,
    port: int,
    redis_url: str | None,
    unsafe_redis: bool,
    sandbox: bool,
    log_dir: Path | None,
    stop_notice: float,
) -> None:
    """Start the whole service on its own Ray and stay in the foreground.

    SIGTERM drains and stops the service. Before that, /readyz answers 503 for the time of --stop-notice. SIGINT
    (Ctrl-C) stops the service in the same way, but without that time. A second signal ends the service without a drain.
    SIGHUP applies a changed configuration file.
    """
    forks = WorkerForks(StateDirectory(state_dir).marker)
    forks.start()  # it imports for seconds on another core, while this process imports too
    try:
        from cluster.local.up import Options, Up

        Up(Options(state_dir, config, host, port, redis_url, unsafe_redis, sandbox, log_dir, stop_notice), forks).run()
    finally:
        forks.stop()


@main.command()
@click.option(
    "--ray-address", required=True, help="The cluster: ray://HEAD:10001 from anywhere, or HEAD:6379 or auto on a node."
)
@click.option(
    "--redis-url",
    required=True,
    help="The Redis that every node can reach, as in `up`. It may be a reference, ${NAME} or file:PATH.",
)
@click.option(
    "--config",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The YAML file with the configuration.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address that each node listens on. Any other than loopback needs --api-keys.",
)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="The port to listen on.")
@click.option(
    "--api-keys", default="", metavar="FILE", help="The file with the API keys. It must be at this path on every node."
)
@click.option("--unsafe-redis", is_flag=True, help="Start even if Redis can lose what was accepted.")
@click.option(
    "--wait-s",
    default=180.0,
    show_default=True,
    type=click.FloatRange(min=1.0),
    help="How many seconds to wait until everything runs.",
)
def deploy(
    *,
    ray_address: str,
    redis_url: str,
    config: Path,
    host: str,
    port: int,
    api_keys: str,
    unsafe_redis: bool,
    wait_s: float,
) -> None:
    """Apply a configuration to an existing Ray cluster and return when the service runs.

    A second deploy applies only the differences.
    """
    from cluster import deploy as deployment

    target = deployment.Target(ray_address, redis_url, host, port, api_keys, unsafe_redis, wait_s)
    done = deployment.deploy(target, config)
    for name in done["running"]:
        click.echo(f"{name} runs" if name in done["changed"] else f"{name} runs, unchanged")


@main.command()
@click.option("--ray-address", required=True, help="The cluster, as in `deploy`.")
@click.option("--redis-url", required=True, help="The Redis, as in `deploy`.")
@click.option(
    "--stop-notice",
    default=0.0,
    show_default=True,
    type=click.FloatRange(min=0.0, max=600.0),
    metavar="SECONDS",
    help="First, /readyz of every node answers 503 for so long while triggers are still accepted.",
)
def undeploy(ray_address: str, redis_url: str, stop_notice: float) -> None:
    """Drain and stop the service on an existing Ray cluster. Queued notifications stay in Redis."""
    from cluster import deploy as deployment

    done = deployment.undeploy(ray_address, redis_url, stop_notice)
    for name in done["removed"]:
        click.echo(f"{name} removed")
    if not done["removed"]:
        click.echo("none of our applications was there")
    if done["others"]:
        click.echo(f"Serve stays, with its port: {', '.join(done['others'])} run on it")
    else:
        click.echo("Serve removed, its port is free")
    click.echo("Redis keeps what is queued and every record; Ray goes on")


@main.group()
def node() -> None:
    """Prepare the machines of a cluster."""


@node.command("prepare")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The YAML file with the configuration. It is needed for HTTPS: node.env then names the certificate.",
)
def node_prepare(folder: Path, config: Path | None) -> None:
    """Write into FOLDER what Ray needs on this machine: the file node.env with variables, and a wrapper for HAProxy."""
    from cluster.nodes import prepare
    from dispatcher.config.yaml_file import load_settings

    tls = None if config is None else load_settings(config).tls
    click.echo(
        f"{prepare(folder.absolute(), tls)}: put these variables into the environment of `ray start`, with the secrets"
    )


@node.command("leave")
@click.option(
    "--stop-notice",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0.0, max=600.0),
    metavar="SECONDS",
    help="How long to wait, so that load balancers leave this machine.",
)
def node_leave(stop_notice: float) -> None:
    """Make /readyz and /-/healthz of this machine answer 503 for the time of the stop notice, then return.

    During this time load balancers send their requests to other machines, and triggers are still accepted. Run this
    command right before Ray is stopped on this machine.
    """
    from cluster.local.door import leave_here

    if leave_here(stop_notice):
        click.echo("load balancers were told for the time of the notice: stop Ray on this machine now")
    else:
        click.echo("no HAProxy of ours runs here, so nobody was told")


if __name__ == "__main__":
    main()
