"""The installed program: `dispatcher`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from actors.runtime import VERSION
from cluster.capacity.estimate import capacity
from cluster.cli.listing import list_by_state
from cluster.cli.operate import register
from cluster.cli.templates import templates
from cluster.rehearsal.demo import demo
from cluster.rehearsal.drills.command import drill
from cluster.rehearsal.sandbox.__main__ import main as sandbox_command
from dispatcher.errors import ConfigError, DispatcherError


class Program(click.Group):
    """Shows our own errors as one sentence, not as a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except DispatcherError as error:
            click.echo(f"dispatcher: {error}", err=True)
            sys.exit(2 if isinstance(error, ConfigError) else 1)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="dispatcher")
def main() -> None:
    """A resilient notification dispatcher: accepts durably in milliseconds, delivers through whichever vendor works."""


@main.command()
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="the YAML file")
@click.option("--state-dir", type=click.Path(file_okay=False, path_type=Path), default=Path("state"), show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="anything but loopback needs an API key")
@click.option("--port", default=8000, show_default=True)
@click.option("--redis-url", help="your own Redis instead of a private one")
@click.option("--unsafe-redis", is_flag=True, help="go on with a Redis that can lose what was acknowledged")
@click.option("--sandbox", is_flag=True, help="also start the sandbox vendors, and use them unless --config is given")
@click.option(
    "--log-dir", type=click.Path(file_okay=False, path_type=Path), help="default: logs in the state directory"
)
def up(
    config: Path | None,
    state_dir: Path,
    host: str,
    port: int,
    redis_url: str | None,
    unsafe_redis: bool,
    sandbox: bool,
    log_dir: Path | None,
) -> None:
    """Start everything in the foreground on its own Ray; SIGTERM drains and stops, SIGHUP applies a changed file."""
    from cluster.local.up import Options, Up

    Up(Options(state_dir, config, host, port, redis_url, unsafe_redis, sandbox, log_dir)).run()


main.add_command(sandbox_command, "sandbox")
main.add_command(demo)
main.add_command(drill)
main.add_command(capacity)
register(main)
main.add_command(list_by_state)
main.add_command(templates)


@main.command()
@click.option("--ray-address", required=True, help="e.g. HEAD:6379, or auto on a node of the cluster")
@click.option("--redis-url", required=True, help="reachable from every node; may be a reference, ${NAME} or file:PATH")
@click.option("--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--unsafe-redis", is_flag=True, help="go on with a Redis that can lose what was acknowledged")
def deploy(ray_address: str, redis_url: str, config: Path, host: str, port: int, unsafe_redis: bool) -> None:
    """Apply a configuration to an existing Ray cluster and return when it runs; again: applies the differences."""
    from cluster import deploy as deployment

    if host not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(f"--host {host}: keys do not reach clusters yet; put an authenticating proxy in front")
    for name in sorted(deployment.deploy(ray_address, redis_url, config, host, port, unsafe_redis)):
        click.echo(f"{name} runs")


@main.command()
@click.option("--ray-address", required=True)
@click.option("--redis-url", required=True)
def undeploy(ray_address: str, redis_url: str) -> None:
    """Stop the service on an existing Ray cluster, drained; what is queued stays in Redis."""
    from cluster import deploy as deployment

    for name in deployment.undeploy(ray_address, redis_url):
        click.echo(f"{name} removed")


if __name__ == "__main__":
    main()
