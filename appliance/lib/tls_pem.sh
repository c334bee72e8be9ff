# shellcheck shell=bash
# PEM as people paste it: CRLF line ends, blanks around the lines, text before and between the blocks.

# decoded_pem BASE64   the text, with plain line ends and without blanks at the ends of lines.
decoded_pem() {
  printf '%s' "${1//[[:space:]]/}" | base64 -d 2>/dev/null | tr -d '\000' | sed -e 's/^[[:blank:]]*//' -e 's/[[:space:]]*$//'
}

# pem_labels TEXT   what the blocks are (CERTIFICATE, PRIVATE KEY ...), one a line; fails when a block has no end.
pem_labels() {
  awk '
    /^-----BEGIN [A-Z0-9 ]+-----$/ { if (open) exit 1; label = substr($0, 12, length($0) - 16); print label; open = 1 }
    /^-----END [A-Z0-9 ]+-----$/ { if (!open || substr($0, 10, length($0) - 14) != label) exit 1; open = 0 }
    END { if (open) exit 1 }' <<<"$1"
}

# pem_block LABEL TEXT   the first block with that label.
pem_block() {
  local label=$1 begin
  begin=${2#*-----BEGIN "$label"-----}
  printf -- '-----BEGIN %s-----%s-----END %s-----\n' "$label" "${begin%%-----END "$label"-----*}" "$label"
}
