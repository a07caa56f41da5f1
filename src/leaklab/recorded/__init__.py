"""What the studies recorded, a JSON file each; read it through :mod:`leaklab.evidence`."""
