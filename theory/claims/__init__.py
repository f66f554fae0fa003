"""The statements behind both papers and beyond them, one module each; `theory.proof` says what a module offers."""
