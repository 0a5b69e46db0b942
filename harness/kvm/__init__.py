"""Save and restore of guests through /dev/kvm, with no VMM of the user's between."""
