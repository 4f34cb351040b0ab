package peers

import "errors"

// Session is one run of one autoscaler, from virtual second 0.
type Session struct{ process *Process }

// HPA starts a session with Kubernetes' HorizontalPodAutoscaler controller. The
// error names an option out of its range, which ends the process, or says that
// another session is open or that the process has ended.
func (p *Process) HPA(o HPAOptions) (*Session, error) {
	return p.session(start{HPA: &o})
}

// KPA starts a session with Knative's autoscaler; its errors are those of HPA.
func (p *Process) KPA(o KPAOptions) (*Session, error) {
	return p.session(start{KPA: &o})
}

func (p *Process) session(s start) (*Session, error) {
	if p.open != nil {
		return nil, errors.New("upstream: another session of this process is open: end it first")
	}
	if _, err := p.ask(request{Start: &s}); err != nil {
		return nil, err
	}
	p.open = &Session{process: p}
	return p.open, nil
}

// Observe lets virtual time pass until o.At in the world as it was, puts o in
// place and returns the replicas that the autoscaler wants: what it wrote last,
// unchanged when it wants nothing. The error names a value out of its range,
// which ends the process, or says that the process or the session has ended.
func (s *Session) Observe(o Observation) (replicas int, err error) {
	if s.process.open != s {
		return 0, errors.New("upstream: the session has ended")
	}
	return s.process.ask(request{Observe: &o})
}

// End ends the session; the process can hold another. Ending it twice does
// nothing.
func (s *Session) End() error {
	if s.process.open != s {
		return nil
	}
	s.process.open = nil
	_, err := s.process.ask(request{End: &struct{}{}})
	return err
}
