# Stands in for debian:bookworm-slim where no registry is reachable: the same
# release, bootstrapped from Debian's packages by hack/images.sh.
FROM scratch
ADD base.tar /
