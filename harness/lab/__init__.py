"""The lab host: an emulated arm64 computer with its own Linux and `/dev/kvm`."""
