# metrics-server, for clusters that lack it and can't pull its public image.
FROM scratch
COPY metrics-server /metrics-server
USER 65532:65532
EXPOSE 10250
ENTRYPOINT ["/metrics-server"]
