"""What a trained MESM computes, costs and looks at."""
