"""The programs of the stage pods: configure, filter and publish. What they read and answer: docs/stages.md."""
