package dispatchbench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// startTime is the longest that a program may take to be ready.
	startTime = 30 * time.Second
	// endTime is the longest that one may take to end.
	endTime = 5 * time.Second
	// ticksPerSecond is the unit of CPU times in /proc, on every Linux.
	ticksPerSecond = 100
)

// command is a program that ends with this one, however this one ends, and
// whose settings are its flags alone. cpus may be empty.
func command(ctx context.Context, cpus, program string, args ...string) *exec.Cmd {
	if cpus != "" {
		args = append([]string{"--cpu-list", cpus, program}, args...)
		program = "taskset"
	}
	c := exec.CommandContext(ctx, program, args...)
	c.Env = []string{"PATH=" + os.Getenv("PATH")}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// process is a program that runs until it is stopped.
type process struct {
	name    string
	command *exec.Cmd
	log     string
	ended   chan struct{}
}

// start starts a program on cpus, which may be empty.
func (b *bench) start(name, cpus, program string, args ...string) (*process, error) {
	log, err := os.CreateTemp(b.Folder, name+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("making the log of %s: %w", name, err)
	}
	p := &process{name: name, command: command(context.Background(), cpus, program, args...), log: log.Name(), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = log, log
	err = p.command.Start()
	_ = log.Close() // the program has it now
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = p.command.Wait() // how it ended is seen from its log
		close(p.ended)
	}()
	return p, nil
}

// stop ends it at once: nothing that it has is needed any more.
func (p *process) stop() {
	_ = p.command.Process.Kill()
	<-p.ended
}

// end asks the program to end, and stops it where it doesn't.
func (p *process) end() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(endTime):
		p.stop()
	}
}

// await waits until the program is ready.
func (p *process) await(ctx context.Context, ready func() bool) error {
	deadline := time.Now().Add(startTime)
	for !ready() {
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended: %s", p.name, p.lastWords())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %v: %s", p.name, startTime, p.lastWords())
		}
	}
	return nil
}

// awaitOrStop is await, after which a program that is not ready is stopped.
func (p *process) awaitOrStop(ctx context.Context, ready func() bool) error {
	err := p.await(ctx, ready)
	if err != nil {
		p.stop()
	}
	return err
}

// lastWords are the end of its log.
func (p *process) lastWords() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-1000):]))
}

// cpu is what the program has taken of its cores, in seconds.
func (p *process) cpu() (float64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.command.Process.Pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("asking for the CPU time of %s: %w", p.name, err)
	}
	seconds, err := cpuOfStat(string(text))
	if err != nil {
		return 0, fmt.Errorf("asking for the CPU time of %s: %w", p.name, err)
	}
	return seconds, nil
}

// cpuOfStat reads the CPU time, in seconds, from a /proc/PID/stat.
func cpuOfStat(text string) (float64, error) {
	// The second field is the program's name in brackets, whatever that holds.
	fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
	const user, system = 14 - 3, 15 - 3
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/PID/stat has %q", text)
	}
	ticks := 0
	for _, field := range []string{fields[user], fields[system]} {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/stat has %q", text)
		}
		ticks += n
	}
	return float64(ticks) / ticksPerSecond, nil
}
