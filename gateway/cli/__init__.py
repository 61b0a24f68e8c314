"""The program `gateway`: its verbs, loaded one at a time, and what every verb's failure looks like.

Exit 0 is fine, 1 means the answer is no, 2 usage or configuration. Each verb lives in a module of
its own and is imported only when it is called.
"""

from __future__ import annotations

import importlib
import json
from typing import Any, Final

import click

from gateway import __version__
from gateway.cli.invocation import current, share_options
from gateway.cli.unbuilt import unbuilt
from gateway.document.diagnostic import DocumentError, as_json
from gateway.exchange.errors import ConfigurationError, GatewayError

_VERBS: Final = {
    "init": ("gateway.cli.init", "Write a new configuration directory."),
    "check": ("gateway.cli.check", "Check gateway.yaml and every file it names."),
    "run": ("gateway.cli.run", "Run the gateway in the foreground."),
    "reload": ("gateway.cli.run", "Have the running gateway read its configuration again."),
    "upgrade": ("gateway.cli.run", "Have the running gateway hand over to a new program."),
    "demo": ("gateway.cli.demo", "Show the gateway in front of a demonstration portal."),
    "doctor": ("gateway.cli.doctor", "Say in plain words what is weak or wrong."),
    "user": ("gateway.cli.user", "Add, list, disable, enable, reset and delete people, and change their roles."),
    "break-glass": ("gateway.cli.break_glass", "Let an emergency account in for an hour at most."),
    "identity": ("gateway.cli.identity", "Show what identity providers sent, and what came of it."),
    "passwords": ("gateway.cli.passwords", "Import the list of breached passwords."),
    "mail": ("gateway.cli.mail", "Try the mail server."),
    "apikey": ("gateway.cli.apikey", "Create, list, rotate and revoke API keys."),
    "vault": ("gateway.cli.vault", "Keep, list and delete the accounts that people have at portals."),
    "session": ("gateway.cli.session", "List and revoke sessions."),
    "abuse": ("gateway.cli.abuse", "List and lift what detectors of abuse answered."),
    "keys": ("gateway.cli.keys", "List and rotate keys."),
    "policy": ("gateway.cli.policy", "Check, test and explain policies."),
    "inspection": ("gateway.cli.inspection", "Show why requests are stopped as attacks, and what to allow."),
    "csp": ("gateway.cli.csp", "Turn reports of browsers into the next content security policy."),
    "quarantine": ("gateway.cli.quarantine", "List, show, release and delete files that were refused."),
    "privacy": ("gateway.cli.privacy", "Tell people what is recorded about them, restrict it, erase it."),
    "audit": ("gateway.cli.audit", "Verify and query the audit trail."),
    "witness": ("gateway.cli.witness", "Vouch for the audit logs of other gateways."),
}
_NOT_BUILT: Final = {
    "backup": "backups are not built yet; stop the gateway and copy state_dir and config/",
    "incident": "incident verbs are not built yet; `gateway session revoke --all` ends every session",
    "compliance": "compliance verbs are not built yet",
    "probe": "probing another server is not built yet",
}
EXIT_CONFIGURATION: Final = 2


class _Verbs(click.Group):
    """All verbs by name; a verb's module is imported when the verb is used, and its help is known before."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [*_VERBS, *_NOT_BUILT]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name in _NOT_BUILT:
            return unbuilt(cmd_name, _NOT_BUILT[cmd_name])
        if cmd_name not in _VERBS:
            return None
        command = getattr(importlib.import_module(_VERBS[cmd_name][0]), cmd_name.replace("-", "_"))
        if not isinstance(command, click.Command):
            raise TypeError(f"{_VERBS[cmd_name][0]}.{cmd_name} is not a command")
        return share_options(command)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; an error of the gateway becomes its text and exit 2, never a traceback."""
        try:
            return super().invoke(ctx)
        except DocumentError as error:
            drawings = [finding.drawn() for finding in error.findings]
            _complain(list(error.diagnostics), drawings, list(map(as_json, error.findings)))
        except ConfigurationError as error:
            _complain(list(error.diagnostics))
        except GatewayError as error:
            _complain([str(error)])
        raise click.exceptions.Exit(EXIT_CONFIGURATION)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """List the verbs without importing one."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in _VERBS.items()])


def _complain(
    sentences: list[str], drawings: list[str] | None = None, findings: list[dict[str, Any]] | None = None
) -> None:
    """Print errors to standard error, each at the start of a line, or as JSON to standard output when that was asked for.

    `drawings` are the same errors with the lines they are about, `findings` the same for programs.
    """
    if current().json:
        answer = {"ok": False, "errors": sentences} | ({"findings": findings} if findings else {})
        click.echo(json.dumps(answer, ensure_ascii=False))
    else:
        click.echo("\n".join(drawings or sentences), err=True)


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
def program() -> None:
    """Put identity, policy, limits and provable audit in front of a portal you cannot change."""
    current()


share_options(program)


def main() -> None:
    """Run one verb and exit; the console script."""
    program.main(prog_name="gateway")
