"""A folder on the Hugging Face Hub. The token, and where it is kept, are huggingface_hub's own."""

from __future__ import annotations

from pathlib import Path

from acclimate.types.errors import RunError, UsageError, reason


def reserve(repository: str, public: bool) -> str:
    """Makes the repository, or finds it, before anything slow is done.

    Returns:
        Its full name, with the owner.

    Raises:
        UsageError: the name is none.
        RunError: nobody is logged in, or may not write there, or there is no network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        return str(HfApi().create_repo(repository, private=not public, exist_ok=True).repo_id)
    except HFValidationError as error:
        raise UsageError(f"--push-to-hub: '{repository}' is no name like me/model ({reason(error)}).") from None
    except Exception as error:  # of the network, of the Hub, of the token
        raise RunError(
            f"--push-to-hub: '{repository}' could not be made on the Hub ({reason(error)}). Log in with `hf auth "
            "login`, or set HF_TOKEN to a token that may write; nothing was exported."
        ) from error


def upload(repository: str, folder: Path) -> str:
    """
    Returns:
        The address of the commit.

    Raises:
        RunError: it could not be sent; ``folder`` is whole.
    """
    from huggingface_hub import HfApi

    try:
        sent = HfApi().upload_folder(repo_id=repository, folder_path=folder, commit_message="Exported by acclimate")
    except Exception as error:  # as above
        raise RunError(
            f"--push-to-hub: '{folder}' is exported, but could not be sent ({reason(error)}). Send it with "
            f"`hf upload {repository} {folder}`."
        ) from error
    return str(sent.commit_url)
