"""A TLS port against Mozilla's profile "intermediate", as sslyze judges it."""

from __future__ import annotations

import warnings

from cryptography.utils import CryptographyDeprecationWarning
from sslyze import (
    CertificateInfoExtraArgument,
    ScanCommandsExtraArguments,
    Scanner,
    ServerNetworkConfiguration,
    ServerNetworkLocation,
)
from sslyze.mozilla_tls_profile.tls_config_checker import (
    SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER,
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    ServerScanResultIncomplete,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)
from sslyze.scanner.models import ServerScanRequest, ServerScanResult

from harness.client.https import ApplianceAddress
from harness.errors import HarnessError

CONNECTIONS = 4
"""At the same time. More would only wait for a guest with two processors."""

CONNECT_WITHIN_S = 20
"""A handshake of a busy guest whose processor is emulated takes seconds."""


def profile_issues(appliance: ApplianceAddress) -> dict[str, str]:
    """What the profile asks for and the port does not keep: `ciphers` and the like, each with sslyze's words.

    Scans for everything the profile judges and for nothing else; that takes some hundred short connections.

    The certificate's trust is judged with `ca_file` beside sslyze's own stores, for `verified_name`.

    Raises:
        HarnessError: the port can't be reached, or a part of the scan failed.
    """
    result = _scan(appliance)
    intermediate = MozillaTlsConfiguration.get(TlsConfigurationEnum.MOZILLA_INTERMEDIATE)
    try:
        check_server_against_tls_configuration(result, intermediate)
    except ServerNotCompliantWithTlsConfiguration as found:
        return dict(found.issues)
    except ServerScanResultIncomplete as error:
        reason = result.connectivity_error_trace or error
        raise HarnessError(f"sslyze could not scan {appliance.base_url}: {reason}") from None
    return {}


def _scan(appliance: ApplianceAddress) -> ServerScanResult:
    name = appliance.verified_name
    scanner = Scanner(per_server_concurrent_connections_limit=CONNECTIONS, concurrent_server_scans_limit=1)
    scanner.queue_scans(
        [
            ServerScanRequest(
                server_location=ServerNetworkLocation(
                    hostname=name, port=appliance.port, ip_address=appliance.host
                ),
                network_configuration=ServerNetworkConfiguration(
                    tls_server_name_indication=name, network_timeout=CONNECT_WITHIN_S
                ),
                scan_commands=SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER,
                scan_commands_extra_arguments=ScanCommandsExtraArguments(
                    certificate_info=CertificateInfoExtraArgument(custom_ca_file=appliance.ca_file)
                ),
            )
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", CryptographyDeprecationWarning
        )  # about an authority in sslyze's stores
        return next(iter(scanner.get_results()))
