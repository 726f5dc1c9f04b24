"""What a run folder holds, by name.

config.toml        every choice; given back with --config it makes the same run
split.json         the data folder, and the names and file hashes in each part
manifest.json      command, versions, machine, device, threads, times; and how it went
log.txt            what was said while it trained, with the time of day
curves.csv, .png   losses and validation scores
checkpoints/       the last two states of the training, to go on from
best.weights.h5    the weights with the best validation mean IoU
model.onnx         the network with these weights, ready to predict
pictures/          validation cases: image, truth, prediction; and how the prediction grew
evaluation-DATA/   figures on a test part, their report, the cases it shows
tensorboard/       the figures once more, where that was asked for
"""

CONFIG = "config.toml"
SPLIT = "split.json"
MANIFEST = "manifest.json"
LOG = "log.txt"
CURVES = "curves.csv"
CURVES_PICTURE = "curves.png"
CHECKPOINTS = "checkpoints"
WEIGHTS = "best.weights.h5"
MODEL = "model.onnx"
PICTURES = "pictures"
TENSORBOARD = "tensorboard"
CACHE = "cache"  # while it trains
