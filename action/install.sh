#!/usr/bin/env bash
# Installs a released binary of deployer. Its checksum has to be the one of the release, and GitHub has to attest that the release
# workflow of the repository has built it.
#
# Reads REPOSITORY (OWNER/NAME), VERSION (empty: the one of this checkout), GH_TOKEN, and what GitHub gives to every step.
set -euo pipefail

fail() {
  printf '::error title=deployer was not installed::%s\n' "$1"
  exit 1
}

# The name of this machine among those that there are binaries for.
target() {
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) echo x86_64-unknown-linux-gnu ;;
    Linux-aarch64) echo aarch64-unknown-linux-gnu ;;
    Darwin-arm64) echo aarch64-apple-darwin ;;
    Darwin-x86_64) echo x86_64-apple-darwin ;;
    *) fail "there is no binary for $(uname -s) on $(uname -m)" ;;
  esac
}

# The version of the commit that the action is pinned to, so that a pin says which binary runs.
own_version() {
  sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$GITHUB_ACTION_PATH/Cargo.toml"
}

sha256() {
  if command -v sha256sum > /dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

version="${VERSION:-$(own_version)}"
version="${version#v}"
[[ "$version" =~ ^[0-9]+\.[0-9]+\.[0-9]+([.+-][0-9A-Za-z.+-]*)?$ ]] || fail "'$version' is no version"
file="deployer-$(target).tar.gz"
folder="$RUNNER_TEMP/deployer-$version"

if [ ! -x "$folder/deployer" ]; then
  fetched="$folder.fetched"
  rm -rf "$fetched"
  mkdir -p "$fetched"
  gh release download "v$version" --repo "$REPOSITORY" --dir "$fetched" --pattern "$file" --pattern SHA256SUMS \
    || fail "release v$version of $REPOSITORY has no $file, or cannot be read with this token"
  wanted=$(awk -v file="$file" '$2 == file || $2 == "*" file { print $1 }' "$fetched/SHA256SUMS")
  found=$(sha256 "$fetched/$file")
  [ -n "$wanted" ] || fail "SHA256SUMS of release v$version does not name $file"
  [ "$wanted" = "$found" ] || fail "$file is not what release v$version says: its SHA-256 is $found, not $wanted"
  gh attestation verify "$fetched/$file" --repo "$REPOSITORY" \
    --signer-workflow "$REPOSITORY/.github/workflows/release.yml" > /dev/null \
    || fail "nothing attests that $REPOSITORY has built $file in its release workflow"
  tar -xzf "$fetched/$file" -C "$fetched" deployer
  chmod +x "$fetched/deployer"
  rm -rf "$folder"
  mv "$fetched" "$folder"
fi

echo "$folder" >> "$GITHUB_PATH"
"$folder/deployer" --version
