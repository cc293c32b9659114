"""The bundled sample set: 96 icons with captions, for trying things out (see ``NOTICE.md``)."""
