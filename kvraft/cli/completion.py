"""The `completion` subcommand: prints the completion script for a shell."""

import click

from kvraft.cli import statuses

_WHERE = {
    "bash": 'eval "$(kvraft completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(kvraft completion zsh)" in ~/.zshrc',
    "fish": "kvraft completion fish > ~/.config/fish/completions/kvraft.fish",
}


@click.command("completion", epilog="; ".join(f"{shell}: {how}" for shell, how in _WHERE.items()))
@click.argument("shell", type=click.Choice([*_WHERE]))
def completion_command(shell: str) -> int:
    """Print the completion script for bash, zsh or fish."""
    from click.shell_completion import get_completion_class

    from kvraft.cli.main import kvraft

    kind = get_completion_class(shell)
    assert kind is not None, "click supports the three shells"
    click.echo(kind(kvraft, {}, "kvraft", "_KVRAFT_COMPLETE").source())
    return statuses.OK
