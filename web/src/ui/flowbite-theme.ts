import { createTheme } from "flowbite-react";

// What Flowbite's components look like here. Their own classes are cleared (`clearTheme` in
// provider.tsx), so that only the names of globals.css give colours.
export const theme = createTheme({
  button: {
    base: "relative inline-flex select-none items-center justify-center gap-1.5 whitespace-nowrap rounded-md font-medium transition-colors",
    disabled: "cursor-not-allowed opacity-50",
    size: { xs: "h-6 px-2 text-xs", sm: "h-8 px-3 text-sm", md: "h-9 px-3.5 text-sm" },
    color: {
      primary: "bg-accent-solid text-white shadow-card hover:bg-accent-solid-hover",
      secondary: "border border-line-strong bg-surface text-ink shadow-card hover:bg-hover",
      ghost: "text-ink-2 hover:bg-hover hover:text-ink",
      danger: "bg-bad-solid text-white shadow-card hover:brightness-110",
      "danger-quiet": "border border-line-strong bg-surface text-bad hover:bg-bad-soft",
    },
    outlineColor: {},
  },
  modal: {
    root: {
      base: "fixed inset-0 z-50 overflow-y-auto overflow-x-hidden",
      show: { on: "flex bg-scrim animate-[fade-in_120ms_ease-out]", off: "hidden" },
      sizes: {
        sm: "sm:max-w-sm",
        md: "sm:max-w-md",
        lg: "sm:max-w-xl",
        xl: "sm:max-w-3xl",
        "2xl": "sm:max-w-5xl",
      },
      positions: { center: "items-end justify-center sm:items-start sm:pt-[8vh]" },
    },
    content: {
      base: "relative w-full sm:p-4 animate-[rise-in_140ms_ease-out]",
      inner:
        "relative flex max-h-[92dvh] flex-col rounded-t-xl border border-line bg-raised shadow-float sm:max-h-[84dvh] sm:rounded-xl",
    },
    body: { base: "scroll-thin min-h-0 flex-1 overflow-auto px-5 py-4", popup: "" },
    header: {
      base: "flex items-start justify-between gap-4 border-b border-line px-5 py-3.5",
      popup: "",
      title: "min-w-0 text-lg font-semibold text-ink",
      close: {
        base: "-me-1.5 inline-flex size-8 flex-none items-center justify-center rounded-md text-ink-3 hover:bg-hover hover:text-ink",
        icon: "size-4",
      },
    },
    footer: {
      base: "flex flex-wrap items-center justify-end gap-2 border-t border-line px-5 py-3",
      popup: "",
    },
  },
  tooltip: {
    target: "inline-flex w-fit max-w-full",
    animation: "",
    arrow: { base: "hidden", style: { dark: "", light: "", auto: "" }, placement: "-4px" },
    base: "absolute z-[60] max-w-72 whitespace-normal rounded-md px-2 py-1 text-xs font-normal shadow-float",
    hidden: "invisible opacity-0",
    style: { dark: "bg-ink text-canvas", light: "", auto: "" },
    content: "",
  },
  textInput: {
    base: "flex w-full",
    addon: "",
    field: {
      base: "relative w-full",
      icon: {
        base: "pointer-events-none absolute inset-y-0 left-0 flex items-center pl-2.5",
        svg: "size-4 text-ink-3",
      },
      rightIcon: { base: "", svg: "" },
      input: {
        base: "block w-full rounded-md border bg-surface text-ink placeholder:text-ink-3 disabled:cursor-not-allowed disabled:bg-sunken disabled:text-ink-3",
        sizes: { sm: "h-8 px-2.5 text-sm", md: "h-9 px-3 text-sm" },
        colors: {
          gray: "border-line-strong hover:border-ink-3 focus:border-accent focus:outline-2 focus:outline-offset-0 focus:outline-accent/30",
          failure: "border-bad focus:outline-2 focus:outline-offset-0 focus:outline-bad/30",
        },
        withRightIcon: { on: "", off: "" },
        withIcon: { on: "pl-8", off: "" },
        withAddon: { on: "", off: "" },
        withShadow: { on: "", off: "" },
      },
    },
  },
  select: {
    base: "flex w-full",
    addon: "",
    field: {
      base: "relative w-full",
      icon: { base: "", svg: "" },
      select: {
        base: "block w-full appearance-none rounded-md border bg-surface pr-8 text-ink disabled:cursor-not-allowed disabled:bg-sunken disabled:text-ink-3",
        sizes: { sm: "h-8 pl-2.5 text-sm", md: "h-9 pl-3 text-sm" },
        colors: {
          gray: "border-line-strong hover:border-ink-3 focus:border-accent focus:outline-2 focus:outline-offset-0 focus:outline-accent/30",
          failure: "border-bad focus:outline-2 focus:outline-offset-0 focus:outline-bad/30",
        },
        withIcon: { on: "", off: "" },
        withAddon: { on: "", off: "" },
        withShadow: { on: "", off: "" },
      },
    },
  },
  textarea: {
    base: "block w-full rounded-md border bg-surface px-3 py-2 text-sm text-ink placeholder:text-ink-3 disabled:cursor-not-allowed disabled:bg-sunken",
    colors: {
      gray: "border-line-strong hover:border-ink-3 focus:border-accent focus:outline-2 focus:outline-offset-0 focus:outline-accent/30",
      failure: "border-bad focus:outline-2 focus:outline-offset-0 focus:outline-bad/30",
    },
    withShadow: { on: "", off: "" },
  },
  toggleSwitch: {
    root: {
      base: "group inline-flex items-center gap-2.5 rounded-md text-left",
      active: { on: "", off: "cursor-not-allowed opacity-50" },
      label: "text-sm text-ink",
      input: "sr-only",
    },
    toggle: {
      base: "relative rounded-full transition-colors after:absolute after:rounded-full after:bg-white after:shadow after:transition-transform",
      checked: {
        on: "bg-accent-solid after:translate-x-4",
        off: "bg-line-strong",
        color: { default: "" },
      },
      sizes: { md: "h-5 w-9 flex-none after:left-0.5 after:top-0.5 after:size-4" },
    },
  },
  label: {
    root: { base: "text-sm font-medium text-ink", disabled: "opacity-50", colors: { default: "" } },
  },
  card: {
    root: {
      base: "min-w-0 rounded-lg border border-line bg-surface shadow-card",
      children: "flex min-w-0 flex-col",
      horizontal: { on: "", off: "" },
      href: "hover:border-line-strong",
    },
    img: { base: "", horizontal: { on: "", off: "" } },
  },
  spinner: {
    base: "inline animate-spin fill-accent text-line-strong",
    color: { default: "fill-accent", inherit: "fill-current" },
    light: { off: { base: "", color: {} }, on: { base: "", color: {} } },
    size: { xs: "size-3.5", sm: "size-4", md: "size-5" },
  },
});
