# frozen_string_literal: true

# The part of OpenNebula's community test library (lib/community in their repository) that a spec sees: the constants, the
# shared context 'vm_handler', the VM's ssh and what it returns. The VM is a shell that has sourced guest.sh; the command
# goes through a shell of the front-end in double quotes, as it does there.
require 'open3'
require 'rspec'
require 'yaml'

config = YAML.load_file("#{File.dirname(caller_locations.first.absolute_path)}/../metadata.yaml")

APP_CONTEXT_PARAMS = config[:app][:context][:params]

# What a command came to.
class Execution
    include RSpec::Matchers

    attr_reader :stdout, :stderr, :exitstatus

    def initialize(command)
        @command = command
        @stdout, @stderr, status = Open3.capture3('bash', '-c', command)
        @exitstatus = status.exitstatus
    end

    def success?
        exitstatus.zero?
    end

    def fail?
        !success?
    end

    def expect_success
        expect(success?).to be(true), "Expected success for: #{@command}\n#{stderr}"
    end

    def expect_fail
        expect(fail?).to be(true), "Expected fail for: #{@command}\n#{stderr}"
    end
end

# The machine that the handler lends.
class GuestVM
    def ssh(cmd, _stderr = false, _options = {}, user = 'root', _xpath_ip = '')
        Execution.new("#{ENV.fetch('GUEST_SSH')} #{user}@192.0.2.7 \"#{cmd}\"")
    end
end

RSpec.shared_context 'vm_handler' do
    before(:all) { @info = { vm: GuestVM.new } }
end
