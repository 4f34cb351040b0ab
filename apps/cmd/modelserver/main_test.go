package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"headroom.dev/apps/internal/oipgrpc/inferencepb"
	"headroom.dev/apps/internal/onnxtest"
	"headroom.dev/apps/internal/reply"
)

// asProgram makes this test binary behave as the program.
const asProgram = "MODELSERVER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

const spec = `
name: colors
labels: labels.txt
input: {name: input, width: 8, height: 6, scale: 0.00392156862745098}
output: {name: output, kind: logits}
`

func modelFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	onnxtest.Write(t, filepath.Join(folder, "model.onnx"), onnxtest.Network{Width: 8, Height: 6, Flat: true})
	write(t, filepath.Join(folder, "model.yaml"), spec)
	write(t, filepath.Join(folder, "labels.txt"), "red\ngreen\nblue\n")
	return folder
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func greenPNG(t *testing.T) []byte {
	t.Helper()
	picture := image.NewRGBA(image.Rect(0, 0, 40, 30))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(color.RGBA{G: 255, A: 255}), image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// program is the program with arguments, on an empty environment.
func program(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, os.Args[0], args...)
	command.Env = []string{asProgram + "=1"}
	return command
}

// server is a running model server.
type server struct {
	command                 *exec.Cmd
	requests, grpc, metrics string
	stderr                  chan string // what it wrote, once it has ended
}

// start runs the program on free ports and waits until it listens.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	command := program(context.Background(), append([]string{
		"--ort-lib", onnxtest.Library(t), "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
	}, args...)...)
	pipe, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{command: command, stderr: make(chan string, 1)}
	t.Cleanup(func() { _ = command.Process.Kill() })

	addresses := make(chan [2]string, 3)
	go func() {
		var all strings.Builder
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
			var entry struct{ Msg, Server, Address string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "listening" {
				addresses <- [2]string{entry.Server, entry.Address}
			}
		}
		close(addresses)
		s.stderr <- all.String()
	}()
	for range 3 {
		address, ok := <-addresses
		if !ok {
			t.Fatalf("the server ended: %s", <-s.stderr)
		}
		switch address[0] {
		case "metrics":
			s.metrics = "http://" + address[1]
		case "gRPC":
			s.grpc = address[1]
		default:
			s.requests = "http://" + address[1]
		}
	}
	return s
}

// end waits for the end of the program and returns its exit code and stderr.
func (s *server) end(t *testing.T) (code int, stderr string) {
	t.Helper()
	select {
	case stderr = <-s.stderr:
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not end")
	}
	return exitCode(t, s.command.Wait()), stderr
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

func (s *server) readyz(t *testing.T) int {
	t.Helper()
	response, err := http.Get(s.requests + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode
}

// await polls until /readyz answers with status.
func (s *server) await(t *testing.T, status int) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for s.readyz(t) != status {
		if time.Now().After(deadline) {
			t.Fatalf("/readyz did not become %d", status)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func classify(url string, body io.Reader) (status int, got reply.Reply, err error) {
	response, err := http.Post(url, "image/png", body)
	if err != nil {
		return 0, got, err
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode, got, json.NewDecoder(response.Body).Decode(&got)
}

func TestServesAndDrains(t *testing.T) {
	s := start(t, "--model", modelFolder(t), "--slots", "2", "--drain-delay", "500ms")
	s.await(t, http.StatusOK)
	status, got, err := classify(s.requests+"/?k=1", bytes.NewReader(greenPNG(t)))
	if err != nil || status != 200 || got.Model != "colors" || len(got.Predictions) != 1 || got.Predictions[0].Label != "green" {
		t.Fatalf("got %d %+v, %v", status, got, err)
	}
	response, err := http.Get(s.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nmodelserver_ready 1\n", "\ninference_slots 2\n", "\ninference_requests_total{outcome=\"answered\"} 1\n"} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("/metrics has no %q", strings.TrimSpace(want))
		}
	}

	// A request whose body is half sent when the signal comes, and completed
	// after the listener is closed, is answered.
	reader, writer := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		status, got, err := classify(s.requests, reader)
		if err == nil && (status != 200 || got.Predictions[0].Label != "green") {
			err = fmt.Errorf("got %d %+v", status, got)
		}
		answered <- err
	}()
	body := greenPNG(t)
	if _, err := writer.Write(body[:10]); err != nil {
		t.Fatal(err)
	}
	s.awaitReceiving(t)
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.await(t, http.StatusServiceUnavailable)
	// Not ready, but who has not heard of it is still served.
	if status, _, err := classify(s.requests, bytes.NewReader(body)); status != 200 {
		t.Errorf("while others learn that it is not ready: %d, %v", status, err)
	}
	s.awaitClosed(t)
	if _, err := writer.Write(body[10:]); err != nil {
		t.Error(err)
	}
	if err := writer.Close(); err != nil {
		t.Error(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("the request in flight: %v", err)
	}
	if code, stderr := s.end(t); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// awaitReceiving polls /metrics until a request's body is arriving.
func (s *server) awaitReceiving(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		response, err := http.Get(s.metrics + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\ninference_receiving 1\n") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the request does not arrive")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// awaitClosed polls until the request address takes no more connections.
func (s *server) awaitClosed(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		connection, err := net.Dial("tcp", strings.TrimPrefix(s.requests, "http://"))
		if err != nil {
			return
		}
		if err := connection.Close(); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("the listener stays open")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// The Open Inference Protocol with the real runtime: a pixel's mean is itself.
func TestTheOpenInferenceProtocol(t *testing.T) {
	folder := t.TempDir()
	onnxtest.Write(t, filepath.Join(folder, "model.onnx"), onnxtest.Network{Width: 2, Height: 1, Flat: true})
	write(t, filepath.Join(folder, "model.yaml"), "name: means\noutput: {kind: logits}\n")
	s := start(t, "--model", folder, "--drain-delay", "0s")
	connection, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	client := inferencepb.NewGRPCInferenceServiceClient(connection)
	if live, err := client.ServerLive(t.Context(), &inferencepb.ServerLiveRequest{}); err != nil || !live.GetLive() {
		t.Errorf("got %v, %v", live, err)
	}
	s.await(t, http.StatusOK)
	if ready, err := client.ModelReady(t.Context(), &inferencepb.ModelReadyRequest{Name: "means"}); err != nil || !ready.GetReady() {
		t.Errorf("got %v, %v", ready, err)
	}
	got, err := client.ModelInfer(t.Context(), &inferencepb.ModelInferRequest{
		ModelName: "means",
		Inputs: []*inferencepb.ModelInferRequest_InferInputTensor{{
			Name: "input", Datatype: "FP32", Shape: []int64{2, 3, 1, 2},
			Contents: &inferencepb.InferTensorContents{Fp32Contents: []float32{1, 3, 5, 5, 0, 1, 7, 7, 8, 8, 9, 9}},
		}},
	})
	if want := []float32{2, 5, 0.5, 7, 8, 9}; err != nil || !slices.Equal(got.GetOutputs()[0].GetContents().GetFp32Contents(), want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}

	const tensor = `{"inputs":[{"name":"input","datatype":"FP32","shape":[1,3,1,2],"data":[[[[1,3]],[[5,5]],[[0,1]]]]}]}`
	response, err := http.Post(s.requests+"/v2/models/means/infer", "application/json", strings.NewReader(tensor))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	const want = `{"model_name":"means","model_version":"1","outputs":[{"name":"output","datatype":"FP32","shape":[1,3],"data":[2,5,0.5]}]}`
	if err := errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != 200 || string(body) != want {
		t.Errorf("got %d %s, %v", response.StatusCode, body, err)
	}
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, stderr := s.end(t); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestWhatOutlastsTheDrainIsCutOff(t *testing.T) {
	s := start(t, "--model", modelFolder(t), "--drain-delay", "0s", "--drain", "50ms")
	s.await(t, http.StatusOK)
	reader, writer := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		_, _, err := classify(s.requests, reader)
		answered <- err
	}()
	if _, err := writer.Write(greenPNG(t)[:10]); err != nil {
		t.Fatal(err)
	}
	s.awaitReceiving(t)
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	code, stderr := s.end(t)
	const want = "modelserver: request server: requests still in flight after 50ms were cut off\n"
	if code != 1 || !strings.HasSuffix(stderr, want) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if err := errors.Join(writer.Close(), <-answered); err == nil {
		t.Error("the request was answered")
	}
}

func TestStopsOnASignalBeforeItIsReady(t *testing.T) {
	s := start(t, "--model", modelFolder(t))
	if err := s.command.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code, stderr := s.end(t); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// What can't work is refused with one line, before anything listens where it
// can be known before.
func TestBadInput(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	busy := listener.Addr().String()
	folder := modelFolder(t)
	broken := modelFolder(t)
	write(t, filepath.Join(broken, "model.yaml"), strings.Replace(spec, "logits", "logit", 1))
	noLabels := modelFolder(t)
	if err := os.Remove(filepath.Join(noLabels, "labels.txt")); err != nil {
		t.Fatal(err)
	}
	noNetwork := modelFolder(t)
	if err := os.Remove(filepath.Join(noNetwork, "model.onnx")); err != nil {
		t.Fatal(err)
	}
	otherSize := modelFolder(t)
	write(t, filepath.Join(otherSize, "model.yaml"), strings.Replace(spec, "width: 8", "width: 9", 1))
	library := []string{"--ort-lib", onnxtest.Library(t), "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}
	with := func(args ...string) []string { return append(library[:len(library):len(library)], args...) }

	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no model", nil, 2, "missing flags: --model=DIR"},
		{"an unknown flag", []string{"--models", "x"}, 2, `unknown flag --models, did you mean "--model"?`},
		{"a number out of its range", []string{"--model", folder, "--slots", "257"}, 2, "--slots is 257; allowed: 0 to 256"},
		{"a duration out of its range", []string{"--model", folder, "--timeout", "2m"}, 2, "--timeout is 2m0s; allowed: 1ms to 1m30s"},
		{"a batch out of its range", []string{"--model", folder, "--max-batch", "65"}, 2, "--max-batch is 65; allowed: 0 to 64"},
		{"a CPU limit at no absolute path", []string{"--model", folder, "--cpu-max", "cpu.max"}, 2, `--cpu-max is "cpu.max"; allowed: an absolute path`},
		{"a CPU limit that is not there", []string{"--model", folder, "--ort-lib", "x", "--cpu-max", "/nowhere/cpu.max"}, 2, "--cpu-max: reading /nowhere/cpu.max: open nowhere/cpu.max: no such file or directory"},
		{"too little memory for a body", []string{"--model", folder, "--max-body", "2097152", "--max-body-memory", "1048576"}, 2, "--max-body-memory is 1048576; allowed: from --max-body, 2097152"},
		{"a collector that is none", []string{"--model", folder, "--otlp-endpoint", "collector:4318"}, 2, `--otlp-endpoint is "collector:4318"; allowed: http://host:4318 or the same with https`},
		{"a share out of its range", []string{"--model", folder, "--trace-sample-ratio", "2"}, 2, "--trace-sample-ratio is 2; allowed: 0 to 1"},
		{"a number that is none", []string{"--model", folder, "--max-body", "big"}, 2, `--max-body: expected a valid 64 bit int but got "big"`},
		{"no such folder", []string{"--model", "/nowhere"}, 2, "open /nowhere/model.yaml: no such file or directory"},
		{"a bad model.yaml", []string{"--model", broken}, 2, broken + `/model.yaml: output.kind: "logit" is not allowed; allowed: logits, softmax`},
		{"no labels", []string{"--model", noLabels}, 2, "open " + noLabels + "/labels.txt: no such file or directory"},
		{"no network", with("--model", noNetwork), 1, "model file missing: stat " + noNetwork + "/model.onnx: no such file or directory"},
		{"a network of another size", with("--model", otherSize), 1, otherSize + `/model.onnx: input "input" is float32 [1,3,6,8]; model.yaml expects float32 [1,3,6,9]`},
		{"no such library", []string{"--model", folder, "--ort-lib", "/nowhere.so", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}, 1,
			"ONNX Runtime can't be loaded: stat /nowhere.so: no such file or directory"},
		{"an address in use", with("--model", folder, "--listen", busy), 1,
			`request server can't listen on "` + busy + `": listen tcp ` + busy + ": bind: address already in use"},
		{"an address in use for gRPC", with("--model", folder, "--grpc-listen", busy), 1,
			`gRPC server can't listen on "` + busy + `": listen tcp ` + busy + ": bind: address already in use"},
		{"an address in use for the metrics", with("--model", folder, "--metrics-listen", busy), 1,
			`metrics server can't listen on "` + busy + `": listen tcp ` + busy + ": bind: address already in use"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			command := program(ctx, test.args...)
			var stderr bytes.Buffer
			command.Stderr = &stderr
			code := exitCode(t, command.Run())
			// Before the line itself there may be log lines, which are JSON.
			var plain []string
			for line := range strings.Lines(stderr.String()) {
				if !strings.HasPrefix(line, "{") {
					plain = append(plain, line)
				}
			}
			if code != test.code || len(plain) != 1 || plain[0] != "modelserver: "+test.want+"\n" {
				t.Errorf("exit code %d, want %d;\ngot  %q\nwant %q", code, test.code, plain, "modelserver: "+test.want)
			}
		})
	}
}

func TestHelpTellsEveryFlag(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run([]string{"--help"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	for _, flag := range []string{
		"model", "listen", "grpc-listen", "metrics-listen", "ort-lib", "slots", "max-batch", "calibration", "max-waiting", "max-body", "max-body-memory",
		"max-pixels", "max-decode-memory", "read-timeout", "decode-timeout", "timeout", "drain-delay", "drain", "otlp-endpoint", "trace-sample-ratio",
	} {
		environment := "$" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
		if help := strings.Join(strings.Fields(stdout.String()), " "); !strings.Contains(help, "--"+flag) || !strings.Contains(help, environment) {
			t.Errorf("--help does not tell --%s and %s", flag, environment)
		}
	}
}

func TestTheBodyLimitIsTheContracts(t *testing.T) {
	data, err := os.ReadFile("../../../contract/request.json")
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Limit int64 `json:"body_limit_bytes"`
	}
	if err := json.Unmarshal(data, &contract); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	run([]string{"--help"}, &stdout, &stderr)
	if want := "--max-body=" + strconv.FormatInt(contract.Limit, 10) + " "; !strings.Contains(stdout.String(), want) {
		t.Errorf("--help does not show the default %s", want)
	}
}
