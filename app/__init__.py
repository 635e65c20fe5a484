"""The page: Lacuna in the browser. It speaks only to the engine's front door and never imports torch."""
