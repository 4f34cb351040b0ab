# A static binary and nothing else.
FROM scratch
COPY scaler /usr/local/bin/scaler
USER 65532:65532
EXPOSE 8002
ENTRYPOINT ["/usr/local/bin/scaler"]
