"""`dispatcher up`: runs the whole service on this machine, in the foreground, on a Ray of its own.

The start has this order:

1. Lock the state directory and end the processes that an earlier run left.
2. Start the sandbox and Redis, each in a session of its own.
3. Start Ray, then Serve.
4. Set our signal handlers, because Ray overwrites that of SIGTERM.
5. Start the applications and wait until the service is ready.

The stop has this order:

1. After SIGTERM with `stop_notice_s`, `/readyz` answers 503 for that time, and triggers are still accepted.
2. HAProxy answers new triggers with 503, and requests that are under way end.
3. These stop one after another: intake, vendors, supervisor, Ray, sandbox, Redis. Serve stops the applications,
   because nothing else drains them. A second signal ends the rest without a drain, as a crash does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from actors.proof import load_proven, secrets_digest
from actors.self_test import prove_channels
from cluster.cli.keys import made_before_scopes
from cluster.local import https, ray_settings, redis_checks
from cluster.local.cell_checks import check_stores, recheck
from cluster.local.delivery_warnings import DeliveryWarnings
from cluster.local.door import CLOSED, LEAVING, Door, own_door
from cluster.local.error_line import one_line
from cluster.local.event_log import EventLog
from cluster.local.foreground import LIBRARY_LOG, leave_quietly, libraries_to, say
from cluster.local.frozen import FrozenReplicas
from cluster.local.housekeeping import Housekeeping
from cluster.local.hurry import hurried
from cluster.local.listening import check_port
from cluster.local.ray_core import CoreWatch
from cluster.local.ray_parts import leave_out_unused
from cluster.local.ray_stop import stop_ray
from cluster.local.readiness import answering, url_of
from cluster.local.redis_keeper import RedisKeeper
from cluster.local.redis_server import RedisServer
from cluster.local.signals import Signals, StopAskedError
from cluster.local.state_directory import REAP_S, StateDirectory, absolute, check_room, make_folder, reap
from cluster.local.worker_forks import WorkerForks
from cluster.rehearsal.sandbox.process import start_sandbox
from dispatcher.adapters.api_keys import ApiKeys, list_keys
from dispatcher.config.secret_references import resolve
from dispatcher.config.settings import Settings
from dispatcher.errors import ConfigError, StartError
from serve_app.start_watch import SAY_EVERY_S, StartWatch

READY_S = 600.0
"""The most seconds for a start. It may be slow on a busy machine, and `up` prints what it waits for."""

TRIES_MAX = 20
"""The number of consecutive errors of Ray, a second apart, that end a start. A dead controller is back in seconds."""

EVENTS_S, HEALTH_S = 0.5, 5.0
"""How often `up` shows new events, and asks for warnings about delivery, in seconds."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options from the command line."""

    state_dir: Path
    config: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    redis_url: str | None = None
    unsafe_redis: bool = False
    sandbox: bool = False
    log_dir: Path | None = None
    stop_notice_s: float = 0.0


class Up:
    """One run of `dispatcher up`, from its start to its stop."""

    def __init__(self, options: Options, forks: WorkerForks | None = None) -> None:
        """Note the options. `forks` is the fork server, if it was already started."""
        self._options = options
        self._state = StateDirectory(options.state_dir)
        self._redis: RedisKeeper | None = None
        self._sandbox: subprocess.Popen[str] | None = None
        self._sandbox_url = ""
        self._running: dict[str, str] = {}
        self._settings: Settings | None = None
        self._digest_key = os.urandom(32)
        self._runtime: dict[str, str] = {}
        self._signals = Signals()
        self._door: Door | None = None
        self._housekeeping = Housekeeping(self._state.marker)
        self._frozen = FrozenReplicas(self._state.marker)
        self._forks = forks or WorkerForks(self._state.marker)
        self._core = CoreWatch(self._state.marker)
        self._ray_is_gone = False
        self._log_dir = absolute(options.log_dir or self._state.path / "logs")
        self._events: EventLog | None = None
        self._url = url_of(options.host, options.port)

    def run(self) -> None:
        """Start the service, run it until SIGTERM or SIGINT, then drain and stop it.

        Raises ConfigError or StartError if the start fails. Everything that was started is then stopped.
        """
        began = time.monotonic()
        self._signals.catch()  # before anything else: as PID 1 of a container a signal without a handler is lost
        try:
            if not self._options.sandbox:  # a sandbox tells its own ports: with one the file is proven after its start
                self._load()
            self._prepare()
            with contextlib.ExitStack() as terminal:
                try:
                    settings = self._start_parts()
                    asyncio.run(prove_channels(settings))
                    terminal.enter_context(libraries_to(self._log_dir / LIBRARY_LOG))
                    self._start_service(settings)
                    self._announce(time.monotonic() - began)
                    self._serve()
                    self._leave()
                finally:
                    self._signals.starting = False
                    self._stop()
        except StopAskedError:
            say("stopped before it was ready, as a signal asked")
        leave_quietly()
        if self._ray_is_gone or self._core.fault:
            os._exit(1 if self._core.fault else 0)  # a thread may wait for a Ray that is gone, and keep this process

    # ---- start

    def _start_service(self, settings: Settings) -> None:
        """Start Ray and the applications, and return when the service is ready."""
        with hurried(self._state.marker, may=os.environ["RAY_worker_niceness"] != "0"):  # noqa: SIM112
            self._start_ray()
            self._signals.catch()  # Ray has put its own in their place
            self._start_applications(settings)
            self._await_ready()
        self._signals.starting = False

    def _prepare(self) -> None:
        o, state = self._options, self._state
        state.prepare()
        state.lock()
        make_folder(self._log_dir)
        if o.host not in https.LOOPBACK and not ApiKeys.load(state.api_keys).usable:
            raise ConfigError(f"--host {o.host} is not loopback: make an API key first, `dispatcher key new NAME`")
        with contextlib.suppress(ConfigError):  # a file that cannot be read lets nobody in, and the service starts
            old_keys = made_before_scopes(list_keys(state.api_keys))
            if old_keys:
                say(f"NOTE: {old_keys}")
        state.urls.unlink(missing_ok=True)
        left = reap(state.marker, spare=self._forks.pids)
        if left:
            say(f"ended {left} processes left by an earlier run")

    def _start_parts(self) -> Settings:
        """Start the sandbox and the store, and return the settings. Ray is not started yet.

        The store starts last, only after the configuration has passed its checks.
        """
        check_port(self._options.host, self._options.port)
        self._state.keep(self._state.runtime_dir())
        check_room(self._state.runtime_dir())
        os.environ.update(ray_settings.environment(self._state, self._state.runtime_dir(), self._options.host))
        self._forks.start()
        if self._options.sandbox:
            self._start_sandbox()
        settings = self._load()
        self._url = https.prepare(settings, self._options.host, self._options.port)
        self._start_store(self._state.runtime_dir(), settings)
        return settings

    def _start_store(self, runtime_dir: Path, settings: Settings) -> None:
        o, state = self._options, self._state
        if o.redis_url is None:
            server = RedisServer(state.path / "redis", runtime_dir / "redis.sock")
            self._redis = RedisKeeper(server)
            pid = server.start()
            how = "adopted" if server.adopted else "started"
            say(f"redis: {how}, pid {pid}, data in {state.path / 'redis'}")
        url = resolve(o.redis_url) if o.redis_url is not None else self._redis.server.url if self._redis else ""
        found = check_stores(o.redis_url or url, settings.store, o.unsafe_redis)
        warnings = [f"unsafe redis: {fault}" for fault in found.unsafe]
        for warning in (*warnings, *found.away):
            say(f"WARNING: {warning}")
        state.write_secret(state.redis_url_file, url)
        self._runtime = {
            "redis_url": f"file:{state.redis_url_file}",
            "api_keys": str(state.api_keys),
            "keys_required": "" if o.host in https.LOOPBACK else "yes",
            "installation": state.identity.read_text(),
            "shared_store": "" if o.redis_url is None else "yes",
            "warnings": "\n".join(warnings),
        }

    def _start_sandbox(self) -> None:
        started = start_sandbox()
        self._sandbox, self._sandbox_url = started.process, started.url
        os.environ["SANDBOX_URL"] = started.url
        os.environ["SANDBOX_SMTP_PORT"] = str(started.smtp_port)

    def _load(self) -> Settings:
        if self._options.redis_url is not None:
            redis_checks.connect(self._options.redis_url).close()  # opens nothing: a URL that cannot be read ends here
        if self._options.config is not None:
            return load_proven(self._options.config)
        if not self._options.sandbox:
            raise ConfigError("--config FILE is needed (or --sandbox for the built-in one)")
        return load_proven(Path(str(resources.files("cluster") / "sandbox.yaml")))

    def _start_ray(self) -> None:
        runtime_dir = self._state.runtime_dir()
        ray_settings.remove_old_sessions(runtime_dir)
        host = ray_settings.REPLICAS_HOST if sys.platform.startswith("linux") else self._options.host
        part = "Ray"
        try:
            import ray  # after the environment is set: Serve reads it at import
            from ray import serve

            leave_out_unused(self._forks.command)
            ray.init(**ray_settings.init_arguments(runtime_dir))
            self._events = EventLog(runtime_dir / "ray" / "session_latest" / "logs", self._log_dir, runtime_dir)
            part = "Ray Serve"
            serve.start(http_options={"host": host, "port": self._options.port}, proxy_location="HeadOnly")
        except Exception as error:
            logs = runtime_dir / "ray"
            raise StartError(f"{part} did not start: {one_line(error)}; its logs are in {logs}") from error

    def _apply(self, settings: Settings) -> None:
        from serve_app.applications import apply

        secrets = secrets_digest(settings, self._digest_key)
        self._running = apply(settings, self._runtime, self._running, secrets)
        self._settings = settings

    def _start_applications(self, settings: Settings) -> None:
        """Start all applications and return when all of them run, or when a signal asks for the stop.

        An application or a controller that dies meanwhile is started again. Raises ConfigError if an application cannot
        start.
        """
        from serve_app.applications import begin, fingerprints, statuses

        wanted = fingerprints(settings, self._runtime, secrets_digest(settings, self._digest_key))
        watch, missing, failures = StartWatch(sorted(wanted)), set(wanted), 0
        while not self._signals.stop:
            try:
                if missing:
                    begin(settings, self._runtime, missing)
                    self._running, self._settings, missing = wanted, settings, set()
                step = watch.look(statuses(), time.monotonic())
                failures = 0
            except Exception as error:  # the controller died, or was too slow to answer: it comes back
                failures += 1
                if failures >= TRIES_MAX:
                    raise ConfigError(f"Ray Serve does not answer: {one_line(error)}") from error
                say(f"start: {one_line(error)}; again in 1 s")
                time.sleep(1.0)
                continue
            if step is None:
                return
            if step.end:
                raise ConfigError(step.end)
            if step.say:
                say(step.say)
            missing = set(step.again)
            self._mend(time.monotonic())
            time.sleep(0.1)

    def _await_ready(self) -> None:
        began_s = said_s = time.monotonic()
        stranger = ""
        while (now_s := time.monotonic()) < began_s + READY_S and not self._signals.stop:
            found = answering(self._url)
            if found is not None and found == self._runtime["installation"]:
                return
            stranger = "" if found is None else f"; another installation answers at {self._url}"
            reason = stranger.removeprefix("; ") or "no answer"
            if now_s - said_s >= SAY_EVERY_S:
                said_s = now_s
                say(f"not ready yet: {reason}")
            self._mend(now_s)
            time.sleep(0.1)
        if not self._signals.stop:
            logs = self._state.runtime_dir() / "ray"
            raise ConfigError(f"not ready within {READY_S:g} s{stranger}; logs are in {logs}")

    def _announce(self, seconds: float) -> None:
        urls = {"api": self._url, "sandbox": self._sandbox_url, "pid": os.getpid()}
        self._state.write_secret(self._state.urls, json.dumps(urls))
        say(f"ready after {seconds:.1f} s", error=False)
        say(f"  API      {self._url}   (documentation: {self._url}/docs, metrics: {self._url}/metrics)", error=False)
        if self._sandbox_url:
            say(f"  sandbox  {self._sandbox_url}", error=False)
        if self._settings is not None and (public := https.public_url(self._settings, self._options.host)):
            say(f"  HTTPS    {public}", error=False)
        rays = f"Ray's: {self._state.runtime_dir() / 'ray'}"
        say(f"  logs     {self._log_dir}   (warnings are shown here too; {rays})", error=False)

    # ---- serve, stop

    def _serve(self) -> None:
        asked_s, read_s, warnings = time.monotonic(), 0.0, DeliveryWarnings(self._url)
        while not self._signals.stop and not self._core.ended(time.monotonic()):
            self._housekeeping.calm(time.monotonic())
            if self._signals.reload_asked():
                self._reload()
            self._mend(time.monotonic())
            if time.monotonic() - read_s >= EVENTS_S:
                read_s = time.monotonic()
                self._show_events()
            if time.monotonic() - asked_s >= HEALTH_S:
                asked_s = time.monotonic()
                warnings.show()
            time.sleep(0.1)

    def _mend(self, now_s: float) -> None:
        """Start Redis and the fork server again if they have died, and kill frozen replicas. May be called often."""
        if self._redis is not None:
            self._redis.mend(now_s)
        self._frozen.end(now_s)
        self._forks.mend(now_s)

    def _show_events(self) -> None:
        """Print what the actors logged at level warning and above. All their events are copied to the log directory."""
        for line in self._events.read() if self._events is not None else ():
            say(line)

    def _reload(self) -> None:
        """Apply the changed configuration file. If this fails, the service keeps the configuration that it has."""
        try:
            settings = self._load()
            https.refuse_change(self._settings or settings, settings)
            before, redis_url = self._settings or settings, f"file:{self._state.redis_url_file}"
            for warning in recheck(redis_url, before.store, settings.store, self._options.unsafe_redis):
                say(f"WARNING: {warning}")
        except Exception as error:  # a fault of ours in reading a file must not end what runs
            say(f"configuration refused, the one before stays: {one_line(error)}")
            return
        try:
            self._apply(settings)
            say("configuration applied")
        except Exception as error:
            say(f"configuration not applied, the one before is put back: {one_line(error)}")
            self._put_back(settings)

    def _put_back(self, refused: Settings) -> None:
        """Apply the former configuration again to each application that `refused` may have changed."""
        from serve_app.applications import fingerprints, restore

        assert self._settings is not None, "a reload comes after a start"
        try:
            touched = fingerprints(refused, self._runtime, secrets_digest(refused, self._digest_key))
            restore(self._settings, self._runtime, self._running, touched)
            say("the configuration before runs")
        except Exception as error:
            self._running = dict.fromkeys(self._running, "")  # unknown: the next SIGHUP runs them all again
            say(f"the configuration before could not be put back everywhere: {one_line(error)}")

    def _leave(self) -> None:
        """Make HAProxy tell balancers for `stop_notice_s` seconds that the service stops, then refuse triggers."""
        door = self._door = self._door or own_door()
        notice_s, began_s, told_s = self._options.stop_notice_s, time.monotonic(), 0.0
        if notice_s and self._signals.quietly:
            say(f"stopping: /readyz says so for {notice_s:g} s, and triggers are still accepted")
        while self._signals.quietly and (now_s := time.monotonic()) < began_s + notice_s:
            if now_s - told_s >= 1.0:  # again and again: a reload of HAProxy may just have read the file
                told_s = now_s
                door.tell(LEAVING)
            self._mend(now_s)
            time.sleep(0.1)
        door.tell(CLOSED)

    def _stop(self) -> None:
        if "ray" in sys.modules:
            shut = self._door.shut if self._door is not None else lambda: None
            hasty = lambda: self._signals.at_once  # noqa: E731
            self._ray_is_gone = not stop_ray(list(self._running), self._state.marker, hasty, shut)
        self._forks.stop()
        self._show_events()
        if self._sandbox is not None:
            self._sandbox.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._sandbox.wait(5.0)
        if self._redis is not None:
            self._redis.server.stop()
        self._state.urls.unlink(missing_ok=True)
        reap(self._state.marker, 0.0 if self._signals.at_once else REAP_S)
