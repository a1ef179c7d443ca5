"""What the plugin and the stage image both use. Standard library only: the image carries these very files (pod_images/Containerfile)."""
