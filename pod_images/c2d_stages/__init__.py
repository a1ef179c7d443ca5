"""The programs of the stage pods, a package for each stage. What they read and answer: docs/stages.md."""
