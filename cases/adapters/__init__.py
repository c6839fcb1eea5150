"""Adapters that earlier releases of PEFT wrote, byte for byte."""
