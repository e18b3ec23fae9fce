"""What a bundle is proven with: golden images and texts, probes, and the audit of its precision."""
