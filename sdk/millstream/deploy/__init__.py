"""A bundle to the machine where it runs: checked, copied, proved there, and only then put in place.

`address` and `fleet` say which devices, `connection` how to talk to one (`ssh`, `adb`), `probe` what it is,
`choosing` which target it takes, `payload` what is sent, `scripts` what the device does, `deploying` puts it
together.
"""
