"""Training and evaluation of the embedded model: tokenizer, corpus, train, evaluate, each a module with `main`."""
