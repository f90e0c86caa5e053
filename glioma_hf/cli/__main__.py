"""`python -m glioma_hf.cli`, as `accelerate launch` wants it."""

from glioma_hf.cli import main

if __name__ == "__main__":
    main()
