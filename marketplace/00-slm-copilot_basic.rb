# frozen_string_literal: true

# Certification of the appliance by OpenNebula's community marketplace: its handler imports the image, starts a VM with
# the context parameters of metadata.yaml, and lends it to the examples below as @info[:vm].
require_relative '../../../lib/community/app_handler'

require 'json'
require 'shellwords'

# How the guest is asked. VM#ssh puts a command in double quotes for a shell of the front-end, so none of $, ", ` and \
# may be in it; and a password in an argument would be readable by every user of the guest. Therefore curl gets its
# options, the password and the body among them, as a configuration on its standard input, packed in base64.
module Guest
    CERTIFICATE = '/etc/ssl/slm-copilot/cert.pem'
    STATUS = 'certification-status:'

    # The answer of the appliance to a request of its own guest, certificate verified.
    Answer = Struct.new(:status, :body) do
        def json
            JSON.parse(body)
        end
    end

    def ask(path, password: nil, body: nil, seconds: 60)
        options = {
            'url' => "https://127.0.0.1#{path}",
            'cacert' => CERTIFICATE,
            'max-time' => seconds.to_s,
            'write-out' => "\\n#{STATUS}%{http_code}"
        }
        options['header'] = ["Authorization: Bearer #{password}"] if password
        if body
            options['header'] = [*options['header'], 'Content-Type: application/json']
            options['data'] = JSON.generate(body)
        end
        execution = run("echo #{packed(options)} | base64 -d | curl --silent --show-error --config -")
        content, _, status = execution.stdout.rpartition("\n#{STATUS}")
        expect(status).to match(/\A\d{3}\z/), "curl in the guest: #{execution.stderr}"
        Answer.new(status.to_i, content)
    end

    def run(command)
        @info[:vm].ssh(command)
    end

    # Looks again every 5 s until the block is true; a model of many gigabytes takes its time to load.
    def wait_until(what, seconds: Integer(ENV.fetch('SLM_CERTIFICATION_WAIT_S', '1200')))
        deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + seconds
        loop do
            return if yield
            raise "not within #{seconds} s: #{what}" if Process.clock_gettime(Process::CLOCK_MONOTONIC) >= deadline

            sleep [5, seconds].min
        end
    end

    def report
        @report ||= run('cat /etc/one-appliance/config').stdout
    end

    def reported(key)
        report[/^#{key}=(.*)$/, 1]
    end

    def password
        APP_CONTEXT_PARAMS[:SLM_ADMIN_PASSWORD]
    end

    private

    def packed(options)
        lines = options.flat_map { |name, values| Array(values).map { |value| "#{name} = #{value_of(value)}" } }
        [lines.join("\n")].pack('m0')
    end

    # A value of curl's configuration: quotes and backslashes are escaped, but write-out wants its \n as it is.
    def value_of(value)
        return "\"#{value}\"" if value.include?(STATUS)

        "\"#{value.gsub(/["\\]/) { |character| "\\#{character}" }}\""
    end
end

describe 'Appliance Certification' do
    include_context('vm_handler')
    include Guest

    it 'is an appliance of the one-apps framework' do
        run('test -x /etc/one-appliance/service').expect_success
        run('test -r /etc/one-appliance/service.d/appliance.sh').expect_success
    end

    it 'says in its message of the day that it is ready to serve' do
        motd = nil
        wait_until('All set and ready to serve') do
            motd = run('cat /etc/motd')
            # What has failed doesn't get ready by waiting.
            raise "the appliance failed: #{motd.stdout}" if motd.stdout.to_s.include?('step failed')

            motd.stdout.to_s.include?('All set and ready to serve')
        end
        expect(motd.exitstatus).to eq(0)
    end

    it 'has gone through all its stages' do
        expect(run('cat /etc/one-appliance/status').stdout.strip).to eq('bootstrap_success')
    end

    %w[slm-engine.service nginx.service].each do |unit|
        it "runs #{unit}" do
            expect(run("systemctl is-active #{unit}").stdout.strip).to eq('active')
        end
    end

    it 'has no failed unit' do
        expect(run('systemctl --failed --no-legend --plain').stdout.strip).to eq('')
    end

    it 'is open to others on ports 22, 80 and 443 only' do
        listening = run('ss -H -l -n -t').stdout.lines.map { |line| line.split[3] }
        others = listening.reject { |address| address.match?(/\A(127\.|\[::1\]|\[::ffff:127\.)/) }
        expect(others.map { |address| address[/\d+\z/] }.uniq.sort).to eq(%w[22 443 80])
    end

    it 'answers /readyz to everybody' do
        expect(ask('/readyz').status).to eq(200)
    end

    it 'refuses a request without a password' do
        expect(ask('/v1/models').status).to eq(401)
    end

    it 'refuses a wrong password' do
        expect(ask('/v1/models', password: "not-#{password}").status).to eq(401)
    end

    it 'hides what it does not serve' do
        expect(ask('/', password: password).status).to eq(404)
    end

    it 'lists the model that its report names' do
        answer = ask('/v1/models', password: password)
        expect(answer.status).to eq(200)
        expect(answer.json['data'].map { |model| model['id'] }).to eq([reported('model')])
    end

    it 'took the parameters of the context' do
        expect(reported('context_size')).to eq(APP_CONTEXT_PARAMS[:SLM_CONTEXT_SIZE])
        expect(reported('temperature')).to eq(APP_CONTEXT_PARAMS[:SLM_MODEL_TEMPERATURE])
        expect(reported('password')).to eq(password)
    end

    it 'answers a chat' do
        answer = ask('/v1/chat/completions', password: password, seconds: 300,
                                             body: chat('Say hello.'))
        expect(answer.status).to eq(200)
        expect(answer.json.dig('choices', 0, 'message', 'content').to_s.strip).not_to be_empty
    end

    it 'streams a chat' do
        answer = ask('/v1/chat/completions', password: password, seconds: 300,
                                             body: chat('Count to three.').merge(stream: true))
        expect(answer.status).to eq(200)
        events = answer.body.lines.map(&:strip).select { |line| line.start_with?('data: ') }
        expect(events.length).to be > 2
        expect(events.last).to eq('data: [DONE]')
    end

    def chat(words)
        { model: reported('model'), max_tokens: 16, messages: [{ role: 'user', content: words }] }
    end
end
