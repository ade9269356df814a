"""The compiler: int8 ONNX to a package of instruction frames, and a package to a program for any number of cores.

Static part (once per network, seconds): graph -> lowering -> tiling -> steps -> schedule -> frames -> package.
Dynamic part (at every re-allocation, microseconds): dynamic.link.
"""
