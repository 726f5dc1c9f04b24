"""What a run folder holds, by name.

config.toml        every choice; given back with --config it makes the same run
split.json         the data folder, and the names in each part
training.json      how it went: best step, time, command, versions, shares of the classes
curves.csv, .png   losses and validation scores
best.weights.h5    the weights with the best validation mean IoU
model.onnx         the network with these weights, ready to predict
pictures/          validation cases: image, truth, prediction
evaluation-DATA/   figures on a test part, their report, the cases it shows
"""

CONFIG = "config.toml"
SPLIT = "split.json"
SUMMARY = "training.json"
CURVES = "curves.csv"
CURVES_PICTURE = "curves.png"
WEIGHTS = "best.weights.h5"
MODEL = "model.onnx"
PICTURES = "pictures"
CACHE = "cache"  # while it trains
