# Debian's Prometheus, for clusters that can't pull a public image; where one
# can be pulled, set prometheusImage to prom/prometheus:v2.55.1 instead.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends prometheus \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
USER 65532:65532
EXPOSE 9090
CMD ["prometheus"]
