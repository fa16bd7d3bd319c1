"""What is in a folder, and what happens where it cannot be written."""


def files(folder):
    """Content of every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fail_at(monkeypatch, module, name):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, name, fail)
