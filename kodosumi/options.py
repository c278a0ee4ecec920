"""Command line options: one table per command, each option a field of :class:`~kodosumi.config.Settings`.

Help texts, defaults and ``KODO_*`` names come from the field, so that they are written once. What was given on the
command line is put into the environment, where this process, its workers and its children read it.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_type_hints

import typer
from pydantic.fields import FieldInfo

from .config import Settings

SERVE_OPTIONS: Mapping[str, str] = {
    "--address": "app_server",
    "--log-file": "app_log_file",
    "--log-file-level": "app_log_file_level",
    "--level": "app_std_level",
    "--uvicorn-level": "uvicorn_level",
    "--exec-dir": "exec_dir",
    "--reload": "app_reload",
    "--register": "register_flow",
    "--ssl-keyfile": "ssl_keyfile",
    "--ssl-certfile": "ssl_certfile",
    "--ssl-keyfile-password": "ssl_keyfile_password",
    "--ssl-version": "ssl_version",
    "--ssl-cert-reqs": "ssl_cert_reqs",
    "--ssl-ca-certs": "ssl_ca_certs",
    "--ssl-ciphers": "ssl_ciphers",
    "--app-workers": "app_workers",
}
"""Option of ``koco serve`` -> field of the settings; ``koco start`` takes them too."""

SPOOL_OPTIONS: Mapping[str, str] = {
    "--ray-server": "ray_server",
    "--log-file": "spooler_log_file",
    "--log-file-level": "spooler_log_file_level",
    "--level": "spooler_std_level",
    "--exec-dir": "exec_dir",
    "--interval": "spooler_interval",
    "--batch-size": "spooler_batch_size",
    "--timeout": "spooler_batch_timeout",
}
"""Option of ``koco spool`` -> field of the settings."""

TEMPORAL_OPTIONS: Mapping[str, str] = {
    "--host": "temporal_host",
    "--namespace": "temporal_namespace",
    "--task-queue": "temporal_task_queue",
    "--max-runs": "temporal_max_runs",
    "--drain-timeout": "temporal_drain_timeout",
    "--tls": "temporal_tls",
    "--tls-ca": "temporal_tls_ca",
    "--tls-cert": "temporal_tls_cert",
    "--tls-key": "temporal_tls_key",
    "--ray-server": "ray_server",
    "--exec-dir": "exec_dir",
    "--log-file": "temporal_log_file",
    "--log-file-level": "temporal_log_file_level",
    "--level": "temporal_std_level",
}
"""Option of ``koco temporal-worker`` -> field of the settings. No API key: everyone may read a command line."""


def variable_of(field_name: str) -> str:
    """The environment variable of a field."""
    return f"KODO_{field_name.upper()}"


def default_text(field: FieldInfo) -> str:
    """A field's default as help and reference show it: ``unset``, ``none`` or the value."""
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None:
        return "unset"
    if default == []:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def takes_settings(options: Mapping[str, str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds options to a Typer command; the command itself gets none of them, it finds them in the environment.

    Args:
        options: option -> field name.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_options(**given: Any) -> Any:
            export({name: given.pop(name) for name in options.values()})
            return command(**given)

        parameters = [_parameter(option, name) for option, name in options.items()]
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command).parameters.values()
        ]
        with_options.__signature__ = inspect.Signature([*own, *parameters])  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *parameters]}
        del with_options.__wrapped__
        return with_options

    return decorate


def export(given: Mapping[str, Any]) -> None:
    """Puts what was given on the command line into the environment; None means "not given".

    Args:
        given: value by field name, as text, flag or list of texts.
    """
    os.environ.update({variable_of(name): _as_text(value) for name, value in given.items() if value not in (None, [])})


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that give a child process the same settings: all that were given, wherever they came from."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set | {"register_flow"}}
    return {variable_of(name): _as_text(value) for name, value in given.items() if value is not None}


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parameter(option: str, name: str) -> inspect.Parameter:
    """A Typer parameter; values stay text, so that the settings judge them wherever they come from."""
    field = Settings.model_fields[name]
    default = "set" if not field.repr and field.default else default_text(field)
    repeatable = "; may be given several times" if field.default_factory is list else ""
    help_text = f"{field.description} [{variable_of(name)}; default: {default}{repeatable}]"
    kind = _kind(field)
    info = typer.Option(option, help=help_text, show_default=False, metavar=None if kind is bool else _metavar(name))
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, info]
    )


def _kind(field: FieldInfo) -> Any:
    if field.annotation is bool:
        return bool
    return list[str] if field.default_factory is list else str


def _metavar(name: str) -> str:
    return "URL" if name in {"app_server", "register_flow", "ray_server"} else name.rpartition("_")[2].upper()
