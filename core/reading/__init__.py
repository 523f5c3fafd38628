"""How files of any kind are read: fast headers, sidecars, archives."""
