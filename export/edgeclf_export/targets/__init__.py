"""One file per target, named like the runtime's backend; each offers `build(hub, precision, folder) -> Built`."""
