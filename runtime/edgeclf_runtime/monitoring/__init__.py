"""After deployment: what a device saw and predicted, counted; whether that has changed; images worth a label."""
