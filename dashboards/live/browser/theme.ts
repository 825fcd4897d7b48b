/** Light or dark: as the system has it until the reader says otherwise, which is remembered. */
const KEY = 'millrace-theme'

type Theme = 'light' | 'dark'

export function openTheme(button: HTMLElement, changed: () => void): { toggle(): void } {
  const system = matchMedia('(prefers-color-scheme: dark)')

  function shown(): Theme {
    return remembered() ?? (system.matches ? 'dark' : 'light')
  }

  function show(): void {
    const theme = shown()
    document.documentElement.dataset.theme = theme
    button.setAttribute('aria-label', `Switch to ${theme === 'dark' ? 'light' : 'dark'} colours`)
    changed()
  }

  function toggle(): void {
    const next: Theme = shown() === 'dark' ? 'light' : 'dark'
    // Back to what the system has: then follow it again.
    if (next === (system.matches ? 'dark' : 'light')) localStorage.removeItem(KEY)
    else localStorage.setItem(KEY, next)
    show()
  }

  button.addEventListener('click', toggle)
  system.addEventListener('change', show)
  show()
  return { toggle }
}

function remembered(): Theme | null {
  const value = localStorage.getItem(KEY)
  return value === 'light' || value === 'dark' ? value : null
}
