package sim

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

func TestRulesOfTheDispatcherAndTheReplicas(t *testing.T) {
	at := func(when time.Duration, n int) []time.Duration { return slices.Repeat([]time.Duration{when}, n) }
	keep := func(n int) *script { return &script{last: Order{Replicas: n}} }
	for _, c := range []struct {
		name                    string
		world                   func(s *Scenario)
		arrivals                []time.Duration
		scaler                  Scaler
		refused, dropped, late  int64
		p99                     float64 // seconds, within a bucket of the histogram
		replicaSeconds, cpuTime float64
	}{
		{
			name:     "a request that finds a free slot takes its service time",
			arrivals: at(1*time.Second, 1), scaler: keep(1),
			p99: 0.1, replicaSeconds: 10, cpuTime: 0.1,
		},
		{
			// One is in service. 0 to 4 are ahead of five more: (4+1)·100 ms are just in
			// time. The last of these starts 500 ms after it came, too late.
			name:     "of eight at once two are refused at the door and one is dropped at the head",
			arrivals: at(1*time.Second, 8), scaler: keep(1),
			refused: 2, dropped: 1, p99: 0.5, replicaSeconds: 10, cpuTime: 0.5,
		},
		{
			name:     "two slots of a replica work at the same time, each at half the CPU",
			world:    func(s *Scenario) { s.Slots = 2 },
			arrivals: at(1*time.Second, 8), scaler: keep(1),
			p99: 0.4, replicaSeconds: 10, cpuTime: 0.4,
		},
		{
			name:     "without a replica a request is refused",
			world:    func(s *Scenario) { s.Initial = 0 },
			arrivals: at(1*time.Second, 1), scaler: keep(0),
			refused: 1,
		},
		{
			// Ordered at 1.5 s, ready at 3.5 s, seen at 3.75 s; exists for 8.5 s.
			name:     "with an allowance a request waits for a cold start and the endpoint's lag",
			world:    func(s *Scenario) { s.Initial, s.ColdStartAllowance, s.EndpointLag = 0, 5*time.Second, 250*ms },
			arrivals: at(1*time.Second, 1), scaler: &script{orders: map[int]Order{1: {Replicas: 1}}},
			late: 1, p99: 2.85, replicaSeconds: 8.5, cpuTime: 0.1,
		},
		{
			name:     "a request that waits longer than the allowance is dropped",
			world:    func(s *Scenario) { s.Initial, s.ColdStartAllowance = 0, 2*time.Second },
			arrivals: at(1*time.Second, 1), scaler: &script{orders: map[int]Order{1: {Replicas: 1}}},
			dropped: 1, replicaSeconds: 8.5,
		},
		{
			name:     "a busy replica that is taken away finishes its request",
			world:    func(s *Scenario) { s.Initial, s.Service.Mean, s.SLO = 2, 2*time.Second, 5*time.Second },
			arrivals: at(200*ms, 2), scaler: keep(1),
			p99: 2, replicaSeconds: 12.2, cpuTime: 4,
		},
		{
			name:     "an idle replica is taken away first, and at once",
			world:    func(s *Scenario) { s.Initial, s.Service.Mean, s.SLO = 2, 2*time.Second, 5*time.Second },
			arrivals: at(200*ms, 1), scaler: keep(1),
			p99: 2, replicaSeconds: 10.5, cpuTime: 2,
		},
		{
			name:     "a replica that is taken away gets nothing new",
			world:    func(s *Scenario) { s.Initial, s.Service.Mean, s.SLO = 2, 2*time.Second, 5*time.Second },
			arrivals: append(at(200*ms, 2), 600*ms), scaler: keep(1),
			p99: 3.6, replicaSeconds: 12.2, cpuTime: 6,
		},
		{
			// Two start from 0.5 s to 1.5 s.
			name:     "replicas that start are taken away before ready ones",
			arrivals: at(5*time.Second, 1), scaler: &script{orders: map[int]Order{0: {Replicas: 3}, 1: {Replicas: 1}}},
			p99: 0.1, replicaSeconds: 12, cpuTime: 0.1,
		},
		{
			// Half a second at the usual speed until 1.5 s, then a quarter at twice it.
			name:     "more CPU, a second after it is ordered, shortens what is in progress",
			world:    func(s *Scenario) { s.Service.Mean, s.SLO = time.Second, 2*time.Second },
			arrivals: at(1*time.Second, 1), scaler: &script{last: Order{Replicas: 1, CPUFactor: 2}},
			p99: 0.75, replicaSeconds: 10, cpuTime: 1,
		},
		{
			name: "a killed replica's request is done again as the next one",
			world: func(s *Scenario) {
				s.Initial, s.Service.Mean, s.SLO = 2, 300*ms, time.Second
				s.Faults = []Fault{{Kind: Kill, From: 1100 * ms, Replicas: 1}}
			},
			arrivals: at(1*time.Second, 2), scaler: keep(2),
			p99: 0.6, replicaSeconds: 20, cpuTime: 0.7,
		},
		{
			name: "it is dropped where that would be too late",
			world: func(s *Scenario) {
				s.Initial, s.Service.Mean = 2, 300*ms
				s.Faults = []Fault{{Kind: Kill, From: 1100 * ms, Replicas: 1}}
			},
			arrivals: at(1*time.Second, 2), scaler: keep(2),
			dropped: 1, p99: 0.3, replicaSeconds: 20, cpuTime: 0.4,
		},
		{
			// The three replicas die one after the other, each amid it.
			name: "it is done again once only",
			world: func(s *Scenario) {
				s.Initial, s.Service.Mean, s.SLO = 3, 300*ms, time.Second
				s.Faults = []Fault{{Kind: Kill, From: 1100 * ms, Replicas: 2}, {Kind: Kill, From: 1200 * ms, Replicas: 1}}
			},
			arrivals: at(1*time.Second, 3), scaler: keep(3),
			dropped: 3, replicaSeconds: 30, cpuTime: 0.4,
		},
		{
			name:     "a request that waits for a cold start as the world ends has its answer counted",
			world:    func(s *Scenario) { s.Initial, s.ColdStartAllowance = 0, 5*time.Second },
			arrivals: at(9200*ms, 1), scaler: &script{orders: map[int]Order{9: {Replicas: 1}}},
			late: 1, p99: 2.4, replicaSeconds: 0.5,
		},
		{
			name:     "a timeout above the SLO lets requests be late instead of refused",
			world:    func(s *Scenario) { s.Timeout = 800 * ms },
			arrivals: at(1*time.Second, 8), scaler: keep(1),
			late: 3, p99: 0.8, replicaSeconds: 10, cpuTime: 0.8,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := tale(c.arrivals...)
			if c.world != nil {
				c.world(&s)
			}
			r := run(t, s, c.scaler)
			if r.Refused != c.refused || r.Dropped != c.dropped || r.Late != c.late {
				t.Errorf("%d refused, %d dropped, %d late, want %d, %d, %d", r.Refused, r.Dropped, r.Late, c.refused, c.dropped, c.late)
			}
			near(t, "p99", r.LatencyP99, c.p99, 0.035*c.p99)
			near(t, "replica-seconds", r.ReplicaSeconds, c.replicaSeconds, 1e-9)
			near(t, "CPU-seconds", r.CPUSeconds, c.cpuTime, 1e-9)
		})
	}
}

func TestTheBridgeIsPaidFor(t *testing.T) {
	// From 1.5 s on one of the replicas has twice its two cores; the one that
	// starts from 2.5 s until 4.5 s has as usual.
	s := tale(time.Second)
	s.CPULimit = 2
	r := run(t, s, &script{last: Order{Replicas: 1, CPUFactor: 2}, orders: map[int]Order{2: {Replicas: 2, CPUFactor: 2}}})
	near(t, "CPU limit-seconds", r.CPULimitSeconds, 2*(1.5+2*8.5)+2*(2+2*5.5), 1e-9)
}

func TestLatencyIsThatOfAnMMcQueue(t *testing.T) {
	for _, c := range []struct {
		servers     int
		utilization float64
	}{{1, 0.5}, {1, 0.8}, {4, 0.9}, {20, 0.9}, {50, 0.95}} {
		t.Run(fmt.Sprintf("%d servers at %.2f", c.servers, c.utilization), func(t *testing.T) {
			service := exponential(0.1)
			mean := service.mean()
			rate := c.utilization * float64(c.servers) / mean
			s := Scenario{
				Seed: 7, Rates: steady(rate, int(800000/rate)), Service: service, Slots: 1, CPULimit: 1,
				SLO: time.Hour, Initial: c.servers, Engine: Requests,
			}
			w := newWorld(s.withDefaults(), Fixed(c.servers))
			w.play()
			mu := 1 / mean
			delta := float64(c.servers)*mu - rate
			waits := erlangC(c.servers, rate*mean)
			for _, t0 := range []float64{0.05, 0.1, 0.2, 0.5, 1} {
				i := bucket(t0)
				above := 0.0
				for _, n := range w.tally.latency[i:] {
					above += n
				}
				x := bucketStart(i)
				both := (1 + mu*x) * math.Exp(-mu*x) // a wait as long on average as a service
				if math.Abs(delta-mu) > 1e-9 {
					both = (delta*math.Exp(-mu*x) - mu*math.Exp(-delta*x)) / (delta - mu)
				}
				want := (1-waits)*math.Exp(-mu*x) + waits*both
				near(t, fmt.Sprintf("share above %.3f s", x), above/w.tally.answered, want, 0.012)
			}
		})
	}
}

func TestEqualScenariosGiveEqualResults(t *testing.T) {
	for _, engine := range []Engine{Requests, Aggregate} {
		s := Workloads(3, 5)[4]
		s.Rates, s.Engine = s.Rates[:600], engine
		s.Duration = 0
		if a, b := encode(t, run(t, s, Oracle(0.2, time.Minute))), encode(t, run(t, s, Oracle(0.2, time.Minute))); a != b {
			t.Errorf("%s: two runs differ", engine)
		}
		other := s
		other.Seed++
		if encode(t, run(t, s, Fixed(9))) == encode(t, run(t, other, Fixed(9))) {
			t.Errorf("%s: another seed changes nothing", engine)
		}
	}
}

func TestScalersMeetTheSameRequests(t *testing.T) {
	s := Scenario{
		Seed: 5, Rates: steady(50, 300), Service: Service{Mean: 80 * ms, CV: 0.8}, Slots: 1, CPULimit: 1, SLO: 500 * ms,
		ColdStart: ColdStart{Mean: 3 * time.Second, CV: 0.5}, Initial: 20,
	}
	for _, engine := range []Engine{Requests, Aggregate} {
		s.Engine = engine
		few, many := run(t, s, Fixed(2)), run(t, s, Oracle(1, time.Minute))
		for i := range few.Timeline {
			if few.Timeline[i].Rate != many.Timeline[i].Rate {
				t.Fatalf("%s: second %d has other arrivals", engine, i)
			}
		}
	}
	// Every request has its own work, whatever becomes of the others: with room for
	// all of them the sum is that of the stream's draws.
	s.Engine = Requests
	r := run(t, s, Fixed(60))
	draws, sum := s.Service.draws(stream(s.Seed, serviceStream)), 0.0
	for range r.Requests {
		sum += draws.next().Seconds()
	}
	near(t, "CPU-seconds", r.CPUSeconds, sum, 1) // what is still in progress at the end
}

func TestEventsGrowWithRequests(t *testing.T) {
	s := tale()
	s.Times = nil
	s.Duration = 0
	s.Initial, s.Rates = 10, steady(60, 600)
	r := run(t, s, Fixed(10))
	if most := 2*r.Requests + 600*5; r.Events > most || r.Events < 2*r.Requests {
		t.Errorf("%d events for %d requests, want at most %d", r.Events, r.Requests, most)
	}
}

// BenchmarkRequests is 20 replicas' work; its events/s are two for each request.
func BenchmarkRequests(b *testing.B) {
	s := Scenario{
		Seed: 1, Service: Service{Mean: 50 * ms, CV: 0.5}, Slots: 1, CPULimit: 1, SLO: 500 * ms, Initial: 20,
		Rates: steady(340, 3600), Engine: Requests,
	}
	events := int64(0)
	for b.Loop() {
		events += run(b, s, Fixed(20)).Events
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}
