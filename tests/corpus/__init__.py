"""Files of many formats, made here, damaged by chance, and read by others for comparison."""
