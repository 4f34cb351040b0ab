package main

import (
	"bytes"
	"strings"

	"github.com/zegl/kube-score/config"
	"github.com/zegl/kube-score/domain"
	"github.com/zegl/kube-score/parser"
	"github.com/zegl/kube-score/score"
	"github.com/zegl/kube-score/scorecard"
)

// optional checks are those that kube-score runs when asked to.
var optional = map[string]struct{}{"container-ports-check": {}, "container-seccomp-profile": {}}

type document struct {
	*bytes.Reader
	name string
}

func (d document) Name() string { return d.name }

// scores is what kube-score finds, its warnings among it.
func scores(stack string, content []byte, version string) ([]finding, error) {
	kubernetes, err := config.ParseSemver(version)
	if err != nil {
		return nil, err
	}
	p, err := parser.New(nil)
	if err != nil {
		return nil, err
	}
	objects, err := p.ParseFiles([]domain.NamedReader{document{bytes.NewReader(content), stack}})
	if err != nil {
		return nil, err
	}
	run := &config.RunConfiguration{
		KubernetesVersion: kubernetes, EnabledOptionalTests: optional, MinReplicasDeployment: 2, MinReplicasHPA: 2,
	}
	card, err := score.Score(objects, score.RegisterAllChecks(objects, nil, run), run)
	if err != nil {
		return nil, err
	}
	var findings []finding
	for _, object := range *card {
		for _, check := range object.Checks {
			if check.Skipped || check.Grade > scorecard.GradeWarning {
				continue
			}
			findings = append(findings, finding{
				stack: stack, check: check.Check.ID, object: object.TypeMeta.Kind + "/" + object.ObjectMeta.Name,
				message: comments(check),
			})
		}
	}
	return findings, nil
}

func comments(check scorecard.TestScore) string {
	var all []string
	for _, c := range check.Comments {
		text := c.Summary
		if c.Path != "" {
			text = c.Path + ": " + text
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}
