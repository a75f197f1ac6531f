"""Master files day by day: downloaded, judged, taken in, kept, and put back."""
